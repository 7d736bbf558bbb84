"""Secret: bytes under keys that few may read. Source: core validation and defaults."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import orjson

from navarch.api.columns import AGE, NAME
from navarch.api.core.configmap import MAX_BYTES, decoded_bytes, frozen
from navarch.api.kind import Column, Kind, Version
from navarch.api.podspec import checks
from navarch.machinery import names
from navarch.machinery.errors import FieldErrors
from navarch.machinery.tables import age_of
from navarch.machinery.types import Obj

TOKEN = "kubernetes.io/service-account-token"
ACCOUNT_NAME = "kubernetes.io/service-account.name"
REQUIRED_KEYS: Mapping[str, tuple[str, ...]] = {
    "kubernetes.io/dockercfg": (".dockercfg",),
    "kubernetes.io/dockerconfigjson": (".dockerconfigjson",),
    "kubernetes.io/tls": ("tls.crt", "tls.key"),
}
"""Keys that the type asks for; they may be empty."""


def defaults(obj: Obj) -> None:
    """`stringData` is another way to write `data`; it is never read back."""
    if not obj.get("type"):
        obj["type"] = "Opaque"
    if texts := obj.pop("stringData", None):
        encoded = {key: base64.b64encode(text.encode()).decode() for key, text in texts.items()}
        obj["data"] = {**(obj.get("data") or {}), **encoded}


def prepare_update(new: Obj, old: Obj) -> None:
    if not new.get("type"):
        new["type"] = old.get("type", "")


def validate(obj: Obj, errs: FieldErrors) -> None:
    data: dict[str, str] = obj.get("data") or {}
    size = 0
    for key, value in data.items():
        if wrong := names.config_map_key(key):
            checks.each(errs, f"data[{key}]", key, wrong)
        size += decoded_bytes(value)
    if size > MAX_BYTES:
        errs.too_long("data", MAX_BYTES)
    kind = obj.get("type", "")
    if kind == TOKEN:
        if not (obj["metadata"].get("annotations") or {}).get(ACCOUNT_NAME):
            errs.required(f"metadata.annotations[{ACCOUNT_NAME}]")
    elif kind == "kubernetes.io/basic-auth":
        if "username" not in data and "password" not in data:
            errs.required("data[username]")
            errs.required("data[password]")
    elif kind == "kubernetes.io/ssh-auth":
        if not data.get("ssh-privatekey"):
            errs.required("data[ssh-privatekey]")
    else:
        for key in REQUIRED_KEYS.get(kind, ()):
            if key not in data:
                errs.required(f"data[{key}]")
            elif key.startswith("."):
                _json_object(data[key], f"data[{key}]", errs)


def _json_object(encoded: str, path: str, errs: FieldErrors) -> None:
    try:
        tree = orjson.loads(base64.b64decode(encoded))
    except ValueError as error:
        errs.invalid(path, "<secret contents redacted>", str(error))
        return
    if tree is not None and not isinstance(tree, dict):
        message = "json: cannot unmarshal value into Go value of type map[string]interface {}"
        errs.invalid(path, "<secret contents redacted>", message)


def validate_update(new: Obj, old: Obj, errs: FieldErrors) -> None:
    checks.immutable(errs, "type", new.get("type", ""), old.get("type", ""))
    frozen(new, old, errs, "data")


def fields(obj: Obj) -> Mapping[str, str]:
    return {"type": obj.get("type", "")}


def row(obj: Obj, now: float) -> list[Any]:
    return [obj["metadata"]["name"], obj.get("type", ""), len(obj.get("data") or ()), age_of(obj, now)]


KIND = Kind(
    kind="Secret",
    plural="secrets",
    versions=(Version(group="", version="v1", definition="io.k8s.api.core.v1.Secret"),),
    defaults=defaults,
    prepare_update=prepare_update,
    validate=validate,
    validate_update=validate_update,
    columns=(
        NAME,
        Column(name="Type", description="What the secret is for."),
        Column(name="Data", description="How many keys there are."),
        AGE,
    ),
    row=row,
    fields=fields,
)
