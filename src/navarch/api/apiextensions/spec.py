"""CustomResourceDefinition's spec: versions, names, conversion. Source: apiextensions' validation/validation.go.

Upstream validates an internal form, in which what all versions share stands at the top (`spec.validation` and the like):
its errors name those fields, and so do ours.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import orjson

from navarch.api.admissionregistration.webhooks import validate_client
from navarch.api.apiextensions.names import validate_names
from navarch.api.apiextensions.openapi import validate_schema
from navarch.machinery import names
from navarch.machinery.errors import FieldError, FieldErrors
from navarch.machinery.structural.nodes import Node
from navarch.machinery.structural.paths import PathError, field_path
from navarch.machinery.types import Obj

SCOPES, STRATEGIES, REVIEWS = ("Cluster", "Namespaced"), ("None", "Webhook"), ("v1", "v1beta1")
COLUMN_TYPES = ("boolean", "date", "integer", "number", "string")
COLUMN_FORMATS = ("byte", "date", "date-time", "double", "float", "int32", "int64", "password")
MAX_SELECTABLE = 8
JUDGED = 64
MAX_WARNING = 256
SHARED = {
    "schema": "validation",
    "subresources": "subresources",
    "additionalPrinterColumns": "additionalPrinterColumns",
    "selectableFields": "selectableFields",
}
"""Field of a version -> the field of the internal spec that all versions share."""


def hoisted(spec: Obj) -> Obj:
    """The internal form."""
    versions: list[Obj] = [dict(version) for version in spec.get("versions") or ()]
    out = {**spec, "versions": versions}
    for field, shared in SHARED.items():
        if versions and all(version.get(field) == versions[0].get(field) for version in versions):
            value = versions[0].get(field)
            for version in versions:
                version.pop(field, None)
            if value is not None:
                out[shared] = value
    return out


_judged: OrderedDict[bytes, tuple[FieldError, ...]] = OrderedDict()
"""What was found lately, by the digest of what was looked at."""


def validate_spec(given: Obj, old: Obj | None, established: bool, errs: FieldErrors) -> None:
    """`old`: the spec before an update; `established`: whether it is of a kind that is served. Large definitions take a
    tenth of a second: who has a thread for it asks there first, and is then answered from memory."""
    key = hashlib.sha256(orjson.dumps([given, old, established])).digest()
    found = _judged.get(key)
    if found is None:
        mine = FieldErrors()
        _validate(given, old, established, mine)
        found = _judged[key] = tuple(mine.items)
        while len(_judged) > JUDGED:
            with suppress(KeyError):
                _judged.popitem(last=False)
    errs.items.extend(found)


def _validate(given: Obj, old: Obj | None, established: bool, errs: FieldErrors) -> None:
    spec = hoisted(given)
    unchanged = _unchanged_schemas(given, old) if old is not None else frozenset[str]()
    _group(spec, errs)
    _choice(spec.get("scope") or "", SCOPES, "spec.scope", errs)
    versions: list[Obj] = spec["versions"]
    for index, version in enumerate(versions):
        schema = (version.get("schema") or spec.get("validation") or {}).get("openAPIV3Schema")
        if schema is None:
            errs.required(f"spec.versions[{index}].schema.openAPIV3Schema")
    for index, version in enumerate(versions):
        _version(version, spec, f"spec.versions[{index}]", old, version.get("name", "") in unchanged, errs)
    _versions(versions, errs)
    _names(spec.get("names") or {}, errs)
    any_status = _has_status(spec.get("subresources")) or any(_has_status(v.get("subresources")) for v in versions)
    first = versions[0].get("name", "") if versions else ""
    _schema(spec.get("validation"), "spec.validation", any_status, first in unchanged, errs)
    _subresources(spec.get("subresources"), "spec.subresources", errs)
    _columns(spec, "spec", errs)
    if spec.get("selectableFields"):
        _selectable(spec, spec.get("validation"), "spec", _many(old, None, spec), errs)
    _conversion(spec.get("conversion"), old, established, errs)


def _unchanged_schemas(spec: Obj, old: Obj) -> frozenset[str]:
    before = {v.get("name"): v.get("schema") for v in old.get("versions") or ()}
    versions: list[Obj] = spec.get("versions") or []
    return frozenset(v["name"] for v in versions if v.get("name") in before and before[v["name"]] == v.get("schema"))


def _group(spec: Obj, errs: FieldErrors) -> None:
    group = spec.get("group") or ""
    if not group:
        errs.required("spec.group")
    elif wrong := names.dns1123_subdomain(group):
        errs.invalid("spec.group", group, ",".join(wrong))
    elif "." not in group:
        errs.invalid("spec.group", group, "should be a domain with at least one dot")


def _choice(value: str, choices: Sequence[str], at: str, errs: FieldErrors) -> None:
    if not value:
        errs.required(at)
    elif value not in choices:
        errs.not_supported(at, value, choices)


def _names(given: Obj, errs: FieldErrors) -> None:
    for field in ("plural", "singular", "kind", "listKind"):
        if not given.get(field):
            errs.required(f"spec.names.{field}")
    validate_names(given, "spec.names", errs)


# -- versions


def _versions(versions: Sequence[Obj], errs: FieldErrors) -> None:
    found = [version.get("name", "") for version in versions]
    if len(set(found)) != len(found):
        errs.invalid("spec.versions", versions, "must contain unique version names")
    if sum(bool(version.get("storage")) for version in versions) != 1:
        errs.invalid("spec.versions", versions, "must have exactly one version marked as storage version")
    if versions and (wrong := names.dns1035_label(found[0])):
        errs.invalid("spec.version", found[0], ",".join(wrong))


def _version(version: Obj, spec: Obj, at: str, old: Obj | None, unchanged: bool, errs: FieldErrors) -> None:
    name = version.get("name", "")
    if wrong := names.dns1035_label(name):
        errs.invalid(f"{at}.name", name, ",".join(wrong))
    _deprecation(version, f"{at}.deprecationWarning", errs)
    subresources = version.get("subresources") or spec.get("subresources")
    _schema(version.get("schema"), f"{at}.schema", _has_status(subresources), unchanged, errs)
    _subresources(version.get("subresources"), f"{at}.subresources", errs)
    _columns(version, at, errs)
    if version.get("selectableFields"):
        if (version.get("schema") or {}).get("openAPIV3Schema") is None:
            message = "may only be set when `version.schema.openAPIV3Schema` is not included"
            errs.invalid(f"{at}.selectableFields", "", message)
        else:
            _selectable(version, version.get("schema"), at, _many(old, name, version), errs)


def _deprecation(version: Obj, at: str, errs: FieldErrors) -> None:
    text = version.get("deprecationWarning")
    if text is None:
        return
    if not version.get("deprecated"):
        errs.invalid(at, text, "can only be set for deprecated versions")
        return
    if len(text.encode()) > MAX_WARNING:
        errs.invalid(at, text, f"must be <= {MAX_WARNING} characters long")
    if not text:
        errs.invalid(at, text, "must not be an empty string")
    for index, character in enumerate(text):
        if not character.isprintable():
            message = "must only contain printable UTF-8 characters; non-printable character found at index"
            errs.invalid(at, text, f"{message} {len(text[:index].encode())}")
            break


def _schema(validation: Obj | None, at: str, has_status: bool, unchanged: bool, errs: FieldErrors) -> None:
    schema = (validation or {}).get("openAPIV3Schema")
    if schema is not None:
        validate_schema(schema, f"{at}.openAPIV3Schema", has_status, unchanged, errs)


def _has_status(subresources: Obj | None) -> bool:
    return (subresources or {}).get("status") is not None


def _columns(given: Obj, at: str, errs: FieldErrors) -> None:
    for index, column in enumerate(given.get("additionalPrinterColumns") or ()):
        _column(column, f"{at}.additionalPrinterColumns[{index}]", errs)


def _column(column: Obj, at: str, errs: FieldErrors) -> None:
    if not column.get("name"):
        errs.required(f"{at}.name")
    type_, choices = column.get("type") or "", f"must be one of {','.join(COLUMN_TYPES)}"
    if not type_:
        errs.required(f"{at}.type", choices)
    elif type_ not in COLUMN_TYPES:
        errs.invalid(f"{at}.type", type_, choices)
    if (form := column.get("format")) and form not in COLUMN_FORMATS:
        errs.invalid(f"{at}.format", form, f"must be one of {','.join(COLUMN_FORMATS)}")
    if not (path := column.get("jsonPath") or ""):
        errs.required(f"{at}.JSONPath")
    elif path[0] != ".":
        errs.invalid(f"{at}.JSONPath", path, "must be a simple json path starting with .")


def _many(old: Obj | None, version: str | None, given: Obj) -> bool:
    """Whether there may be too many selectable fields: there were before, and they are the same."""
    if old is None:
        return False
    before = hoisted(old)
    if version is not None:
        before = next((v for v in before["versions"] if v.get("name") == version), {})
    fields = before.get("selectableFields") or []
    return len(fields) > MAX_SELECTABLE and fields == given.get("selectableFields")


def _selectable(given: Obj, validation: Obj | None, at: str, many: bool, errs: FieldErrors) -> None:
    at = f"{at}.selectableFields"
    schema = (validation or {}).get("openAPIV3Schema")
    if schema is None:
        errs.invalid(at, "", "may only be set when validations.schema is included")
        return
    node, seen = Node(schema), set[str]()
    for index, field in enumerate(given["selectableFields"]):
        path, here = field.get("jsonPath") or "", f"{at}[{index}].jsonPath"
        if not path:
            errs.required(here)
            continue
        try:
            shown, found = field_path(path, node, brackets=False)
        except PathError as error:
            errs.invalid(here, path, f"is an invalid path: {error}")
            continue
        if shown.partition(".")[0] == "metadata":
            errs.invalid(here, path, "must not point to fields in metadata")
        if found.raw.get("type") not in ("string", "boolean", "integer"):
            message = (
                "must point to a field of type string, boolean or integer. Enum string fields and strings with formats "
                "are allowed."
            )
            errs.invalid(here, path, message)
        if shown in seen:
            errs.duplicate(here, path)
        seen.add(shown)
    if len(seen) > MAX_SELECTABLE and not many:
        errs.too_many(at, len(seen), MAX_SELECTABLE)


def _subresources(given: Obj | None, at: str, errs: FieldErrors) -> None:
    scale = (given or {}).get("scale")
    if scale is None:
        return
    for field, root in (("specReplicasPath", ".spec."), ("statusReplicasPath", ".status.")):
        path, here = scale.get(field) or "", f"{at}.scale.{field}"
        if not path:
            errs.required(here)
        elif path[0] != ".":
            errs.invalid(here, path, "must be a simple json path starting with .")
        elif not path.startswith(root):
            errs.invalid(here, path, f"should be a json path under {root[:-1]}")
    if path := scale.get("labelSelectorPath") or "":
        here = f"{at}.scale.labelSelectorPath"
        if path[0] != ".":
            errs.invalid(here, path, "must be a simple json path starting with .")
        elif not path.startswith((".spec.", ".status.")):
            errs.invalid(here, path, "should be a json path under either .spec or .status")


# -- conversion


def _conversion(given: Obj | None, old: Obj | None, established: bool, errs: FieldErrors) -> None:
    if given is None:
        return
    at = "spec.conversion"
    strategy, webhook = given.get("strategy") or "", given.get("webhook") or {}
    _choice(strategy, STRATEGIES, f"{at}.strategy", errs)
    client, reviews = webhook.get("clientConfig"), webhook.get("conversionReviewVersions") or []
    if strategy != "Webhook":
        message = "should not be set when strategy is not set to Webhook"
        if client is not None:
            errs.forbidden(f"{at}.webhookClientConfig", message)
        if reviews:
            errs.forbidden(f"{at}.conversionReviewVersions", message)
        return
    if client is None:
        errs.required(f"{at}.webhookClientConfig", "required when strategy is set to Webhook")
    else:
        _client(client, f"{at}.webhookClientConfig", _bundle_matters(old, established), errs)
    _reviews(reviews, f"{at}.conversionReviewVersions", errs)


def _client(client: Obj, at: str, strict: bool, errs: FieldErrors) -> None:
    validate_client(client, at, errs)
    bundle = client.get("caBundle")
    if bundle and strict and not is_ca_bundle(bundle):
        errs.invalid(f"{at}.caBundle", bundle, "unable to load root certificates: unable to parse bytes as PEM block")


def _bundle_matters(old: Obj | None, established: bool) -> bool:
    """A bundle that is none is taken until the kind is served, and where it was none before."""
    if old is None or not established:
        return False
    bundle = (((old.get("conversion") or {}).get("webhook") or {}).get("clientConfig") or {}).get("caBundle")
    return not bundle or is_ca_bundle(bundle)


def is_ca_bundle(bundle: str) -> bool:
    """Whether base64 text holds certificates as PEM."""
    import ssl

    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=base64.b64decode(bundle).decode())
    except (ValueError, binascii.Error, ssl.SSLError):
        return False
    return True


def _reviews(versions: Sequence[Any], at: str, errs: FieldErrors) -> None:
    if not versions:
        errs.required(at)
        return
    for index, name in enumerate(versions):
        if name in versions[:index]:
            errs.invalid(f"{at}[{index}]", name, "duplicate version")
            continue
        for message in names.dns1035_label(name):
            errs.invalid(f"{at}[{index}]", name, message)
    if not set(versions) & set(REVIEWS):
        errs.invalid(at, versions, f"must include at least one of {', '.join(REVIEWS)}")
