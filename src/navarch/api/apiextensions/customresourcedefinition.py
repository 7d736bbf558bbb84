"""CustomResourceDefinition: a kind that users make. Sources: apiextensions' v1 defaults and registry strategies.

Its conditions, and what is served of it, are apiserver/customresources'.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from navarch.api.apiextensions.forms import clean
from navarch.api.apiextensions.spec import validate_spec
from navarch.api.apiextensions.status import APPROVED, approval, is_protected, validate_status, validate_stored_versions
from navarch.api.columns import NAME_AND_CREATION, creation_row
from navarch.api.kind import Kind, Version, status_of
from navarch.machinery.errors import FieldErrors
from navarch.machinery.structural.formats import is_recognized
from navarch.machinery.types import Obj

GROUP = "apiextensions.k8s.io"
DEFINITION = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.CustomResourceDefinition"
CLEANUP = "customresourcecleanup.apiextensions.k8s.io"
"""The finalizer that keeps a definition until its objects are gone."""


def defaults(obj: Obj) -> None:
    spec = obj.setdefault("spec", {})
    names = spec.setdefault("names", {})
    if not names.get("singular"):
        names["singular"] = (names.get("kind") or "").lower()
    if not names.get("listKind") and names.get("kind"):
        names["listKind"] = names["kind"] + "List"
    if spec.get("conversion") is None:
        spec["conversion"] = {"strategy": "None"}
    config = (spec["conversion"].get("webhook") or {}).get("clientConfig") or {}
    if (service := config.get("service")) is not None and service.get("port") is None:
        service["port"] = 443
    _default_stored(obj)


def _default_stored(obj: Obj) -> None:
    status = obj.get("status")
    storage = storage_version(obj)
    if status is not None and not status.get("storedVersions") and storage:
        status["storedVersions"] = [storage]


def versions_of(obj: Obj) -> list[Obj]:
    return obj["spec"].get("versions") or []


def storage_version(obj: Obj) -> str:
    """The name of the version that is stored; empty: none is marked."""
    return next((v.get("name", "") for v in versions_of(obj) if v.get("storage")), "")


def _store(obj: Obj) -> None:
    """The storage version is among those that objects may be stored in."""
    storage = storage_version(obj)
    status = obj.get("status") or {}
    stored = status.get("storedVersions") or []
    if storage and storage not in stored:
        obj["status"] = {**status, "storedVersions": [*stored, storage]}


def prepare_update(obj: Obj, old: Obj) -> None:
    _store(obj)


# -- validation


def validate(obj: Obj, errs: FieldErrors) -> None:
    spec = obj["spec"]
    wanted = f"{(spec.get('names') or {}).get('plural', '')}.{spec.get('group', '')}"
    for field in ("generateName", "name"):
        if (name := obj["metadata"].get(field, "")) and name != wanted:
            errs.invalid(f"metadata.{field}", name, 'must be spec.names.plural+"."+spec.group')
    validate_status(obj.get("status") or {}, errs)
    validate_stored_versions(obj, errs)
    if spec.get("preserveUnknownFields"):
        message = (
            "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead"
        )
        errs.invalid("spec.preserveUnknownFields", True, message)


def validate_create(obj: Obj, errs: FieldErrors) -> None:
    validate_spec(obj["spec"], None, False, errs)
    _validate_approval(obj, None, errs)


def validate_update(obj: Obj, old: Obj, errs: FieldErrors) -> None:
    spec, before = obj["spec"], old["spec"]
    validate_spec(spec, before, _established(old), errs)
    fields = [("group",), ("names", "plural")]
    if _established(old):
        fields += [("scope",), ("names", "kind")]
    for path in fields:
        new_value, old_value = _at(spec, path), _at(before, path)
        if new_value != old_value:
            errs.invalid("spec." + ".".join(path), new_value, "field is immutable")
    _validate_approval(obj, old, errs)


def validate_status_update(obj: Obj, old: Obj, errs: FieldErrors) -> None:
    validate_status(obj.get("status") or {}, errs)


def _at(tree: Obj, path: tuple[str, ...]) -> Any:
    value: Any = tree
    for step in path:
        value = (value or {}).get(step) or ""
    return value


def _established(obj: Obj) -> bool:
    conditions = (obj.get("status") or {}).get("conditions") or ()
    return any(c.get("type") == "Established" and c.get("status") == "True" for c in conditions)


def _validate_approval(obj: Obj, old: Obj | None, errs: FieldErrors) -> None:
    if not is_protected(obj["spec"].get("group", "")):
        return
    state, why = approval(obj["metadata"].get("annotations") or {})
    if old is not None and approval(old["metadata"].get("annotations") or {})[0] == state:
        return
    at = f"metadata.annotations[{APPROVED}]"
    if state == "missing":
        errs.required(at, why)
    elif state == "invalid":
        errs.invalid(at, (obj["metadata"].get("annotations") or {}).get(APPROVED, ""), why)


# -- warnings


def warnings(obj: Obj, old: Obj | None) -> list[str]:
    known = set(_unrecognized(old)) if old is not None else set[str]()
    return [f'unrecognized format "{name}"' for name in _unrecognized(obj) if name not in known]


def _unrecognized(obj: Obj) -> list[str]:
    versions = versions_of(obj)
    schemas = [(v.get("schema") or {}).get("openAPIV3Schema") for v in versions]
    if len(schemas) > 1 and all(schema == schemas[0] for schema in schemas):
        schemas = schemas[:1]
    return [name for schema in schemas if schema for name in _formats(schema)]


def _formats(schema: Any) -> Iterator[str]:
    if not isinstance(schema, dict):
        return
    name = schema.get("format")
    if name and not is_recognized(name, schema.get("type") or ""):
        yield name
    for below in ("items", "additionalProperties", "not"):
        yield from _formats(schema.get(below))
    for below in ("allOf", "anyOf", "oneOf"):
        for one in schema.get(below) or ():
            yield from _formats(one)
    for one in (schema.get("properties") or {}).values():
        yield from _formats(one)


KIND = Kind(
    kind="CustomResourceDefinition",
    plural="customresourcedefinitions",
    extra={"storage": "apiextensions.k8s.io/v1beta1/CustomResourceDefinition"},
    short_names=("crd", "crds"),
    categories=("api-extensions",),
    namespaced=False,
    versions=(
        Version(
            group=GROUP,
            version="v1",
            definition=DEFINITION,
            clean=clean,
            validate_create=validate_create,
            validate_update=validate_update,
        ),
    ),
    subresources=(status_of("CustomResourceDefinition"),),
    defaults=defaults,
    prepare_create=_store,
    prepare_update=prepare_update,
    validate=validate,
    validate_status_update=validate_status_update,
    warnings=warnings,
    has_generation=True,
    allow_unconditional_update=False,
    qualified_finalizers=False,
    columns=NAME_AND_CREATION,
    row=creation_row,
)
