"""ObjectMeta: what every object's metadata must be. Source: apimachinery's api/validation/objectmeta.go."""

from __future__ import annotations

from collections.abc import Sequence

from navarch.api.kind import NameRule
from navarch.machinery import names
from navarch.machinery.errors import FieldErrors
from navarch.machinery.types import Obj

ANNOTATIONS_BYTES = 256 * 1024
MANAGER_LENGTH = 128
SUBRESOURCE_LENGTH = 256
ORPHAN, FOREGROUND = "orphan", "foregroundDeletion"
STANDARD_FINALIZERS = ("kubernetes", ORPHAN, FOREGROUND)
IMMUTABLE = "field is immutable"


def validate_metadata(metadata: Obj, namespaced: bool, name_is_valid: NameRule | None, errs: FieldErrors) -> None:
    """Of a whole object, after its name has been generated. `name_is_valid` None: the DNS subdomain rule."""
    rule = name_is_valid or names.dns1123_subdomain
    if prefix := metadata.get("generateName"):
        for message in rule(names.mask_trailing_dash(prefix)):
            errs.invalid("metadata.generateName", prefix, message)
    if name := metadata.get("name"):
        for message in rule(name):
            errs.invalid("metadata.name", name, message)
    else:
        errs.required("metadata.name", "name or generateName is required")
    namespace = metadata.get("namespace")
    if namespaced:
        if not namespace:
            errs.required("metadata.namespace")
        else:
            for message in names.dns1123_label(namespace):
                errs.invalid("metadata.namespace", namespace, message)
    elif namespace:
        errs.forbidden("metadata.namespace", "not allowed on this type")
    if (generation := metadata.get("generation", 0)) < 0:
        errs.invalid("metadata.generation", generation, "must be greater than or equal to 0")
    _common(metadata, errs)
    if finalizers := metadata.get("finalizers"):
        _finalizers(finalizers, errs)


def validate_metadata_update(metadata: Obj, old: Obj, errs: FieldErrors) -> None:
    """What an update must leave alone. The registry runs `validate_metadata` as well, which judges the values."""
    if "deletionTimestamp" in old:
        had = old.get("finalizers") or ()
        if added := sorted({f for f in metadata.get("finalizers") or () if f not in had}):
            shown = ", ".join(f'"{name}"' for name in added)
            message = (
                "no new finalizers can be added if the object is being deleted, "
                f"found new finalizers []string{{{shown}}}"
            )
            errs.forbidden("metadata.finalizers", message)
    for field in ("name", "namespace", "uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"):
        value = metadata.get(field)
        if value != old.get(field):
            errs.invalid(f"metadata.{field}", value, IMMUTABLE)


def keep_metadata(new: Obj, old: Obj) -> None:
    """Of kinds whose status subresource changes nothing of metadata but its managed fields."""
    metadata, before = new["metadata"], old["metadata"]
    for field in ("labels", "annotations", "finalizers", "ownerReferences"):
        if field in before:
            metadata[field] = before[field]
        else:
            metadata.pop(field, None)


def validate_labels(labels: Obj | None, path: str, errs: FieldErrors) -> None:
    """Keys are qualified names, values label values; every error is at `path` itself."""
    for key, value in (labels or {}).items():
        for message in names.qualified_name(key):
            errs.invalid(path, key, message)
        for message in names.label_value(value):
            errs.invalid(path, value, message)


def validate_annotations(annotations: Obj | None, path: str, errs: FieldErrors) -> None:
    """Keys are qualified names in any case; all of them together are at most 256 KiB."""
    if not annotations:
        return
    size = 0
    for key, value in annotations.items():
        for message in names.qualified_name(key.lower()):
            errs.invalid(path, key, message)
        size += len(key) + (len(value) if value.isascii() else len(value.encode()))
    if size > ANNOTATIONS_BYTES:
        errs.too_long(path, ANNOTATIONS_BYTES)


def _common(metadata: Obj, errs: FieldErrors) -> None:
    if labels := metadata.get("labels"):
        validate_labels(labels, "metadata.labels", errs)
    if annotations := metadata.get("annotations"):
        validate_annotations(annotations, "metadata.annotations", errs)
    if owners := metadata.get("ownerReferences"):
        _owners(owners, errs)
    if managed := metadata.get("managedFields"):
        _managed_fields(managed, errs)


def _owners(owners: Sequence[Obj], errs: FieldErrors) -> None:
    path, controller = "metadata.ownerReferences", ""
    for owner in owners:
        api_version = owner.get("apiVersion", "")
        if not api_version or api_version.count("/") > 1 or api_version.endswith("/"):
            errs.invalid(f"{path}.apiVersion", api_version, "version must not be empty")
        for field in ("kind", "name", "uid"):
            if not owner.get(field):
                errs.invalid(f"{path}.{field}", owner.get(field, ""), "must not be empty")
        if api_version == "v1" and owner.get("kind") == "Event":
            errs.invalid(path, owner, "/v1, Kind=Event is disallowed from being an owner")
        if owner.get("controller"):
            this = f"{owner.get('kind', '')}/{owner.get('name', '')}"
            if controller:
                message = (
                    'Only one reference can have Controller set to true. Found "true" in references for '
                    f"{controller} and {this}"
                )
                errs.invalid(path, owners, message)
            else:
                controller = this


def validate_finalizer_names(metadata: Obj, errs: FieldErrors) -> None:
    """Of built-in kinds: a finalizer is one of the system's own, or has a prefix."""
    for index, finalizer in enumerate(metadata.get("finalizers") or ()):
        if "/" not in finalizer and finalizer not in STANDARD_FINALIZERS:
            message = "name is neither a standard finalizer name nor is it fully qualified"
            errs.invalid(f"metadata.finalizers[{index}]", finalizer, message)


def _finalizers(finalizers: Sequence[str], errs: FieldErrors) -> None:
    for finalizer in finalizers:
        for message in names.qualified_name(finalizer):
            errs.invalid("metadata.finalizers", finalizer, message)
    if ORPHAN in finalizers and FOREGROUND in finalizers:
        message = f"finalizer {ORPHAN} and {FOREGROUND} cannot be both set"
        errs.invalid("metadata.finalizers", finalizers, message)


def _managed_fields(entries: Sequence[Obj], errs: FieldErrors) -> None:
    for index, entry in enumerate(entries):
        if entry.get("operation") not in ("Apply", "Update"):
            at = f"metadata.managedFields[{index}].operation"
            errs.invalid(at, entry.get("operation", ""), "must be `Apply` or `Update`")
        if entry.get("fieldsType", "FieldsV1") != "FieldsV1":
            at = f"metadata.managedFields[{index}].fieldsType"
            errs.invalid(at, entry["fieldsType"], "must be `FieldsV1`")
        manager = entry.get("manager", "")
        if len(manager) > MANAGER_LENGTH or not manager.isprintable():
            validate_manager(manager, f"metadata.managedFields[{index}].manager", errs)
        if names.longer_than(entry.get("subresource", ""), SUBRESOURCE_LENGTH):
            errs.too_long(f"metadata.managedFields[{index}].subresource", SUBRESOURCE_LENGTH)


def validate_manager(manager: str, path: str, errs: FieldErrors) -> None:
    """A field manager: at most 128 bytes, all printable."""
    if names.longer_than(manager, MANAGER_LENGTH):
        errs.too_long(path, MANAGER_LENGTH)
    for position, character in enumerate(manager):
        if not character.isprintable():
            message = f"invalid character U+{ord(character):04X} (at position {position})"
            errs.invalid(path, manager, message)
