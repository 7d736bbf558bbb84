"""Validation of claims on storage, which are objects of their own and templates in pods and stateful sets."""

from __future__ import annotations

from navarch.api.podspec import checks
from navarch.machinery import names
from navarch.machinery.errors import FieldErrors
from navarch.machinery.quantity import Quantity
from navarch.machinery.types import Obj

MODES = ("ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod")
TEMPLATE_META = ("annotations", "labels")
META_TEXTS = ("name", "generateName", "namespace", "selfLink", "uid", "resourceVersion", "generation")
"""Fields whose empty values are as good as none."""
META_FIELDS = {"uid": "uID"}
"""How messages call fields, where not by their name."""


def basic_amount(text: str, path: str, errs: FieldErrors) -> None:
    if (value := Quantity.of(text).value()) < 0:
        errs.invalid(path, value, "must be a valid resource quantity")


def validate_modes(spec: Obj, path: str, errs: FieldErrors) -> None:
    modes = spec.get("accessModes") or []
    if not modes:
        errs.required(f"{path}.accessModes", "at least 1 access mode is required")
    for mode in modes:
        if mode not in MODES:
            errs.not_supported(f"{path}.accessModes", mode, MODES)
    if "ReadWriteOncePod" in modes and any(mode in MODES and mode != "ReadWriteOncePod" for mode in modes):
        errs.forbidden(f"{path}.accessModes", "may not use ReadWriteOncePod with other access modes")


def validate_spec(spec: Obj, path: str, errs: FieldErrors) -> None:
    if spec.get("selector") is not None:
        checks.label_selector(errs, f"{path}.selector", spec["selector"])
    validate_modes(spec, path, errs)
    storage = ((spec.get("resources") or {}).get("requests") or {}).get("storage")
    if storage is None:
        errs.required(f"{path}.resources[storage]", "")
    elif Quantity.of(storage).sign <= 0:
        errs.invalid(f"{path}.resources[storage]", str(storage), "must be greater than zero")
    if spec.get("storageClassName"):
        checks.named(errs, f"{path}.storageClassName", spec["storageClassName"], names.dns1123_subdomain)
    if (mode := spec.get("volumeMode")) is not None and mode not in ("Block", "Filesystem"):
        errs.not_supported(f"{path}.volumeMode", mode, ("Block", "Filesystem"))
    if name := spec.get("volumeAttributesClassName"):
        checks.named(errs, f"{path}.volumeAttributesClassName", name, names.dns1123_subdomain)
    _sources(spec, path, errs)


def _sources(spec: Obj, path: str, errs: FieldErrors) -> None:
    source, reference = spec.get("dataSource"), spec.get("dataSourceRef")
    for field, found in (("dataSource", source), ("dataSourceRef", reference)):
        if found is not None:
            checks.required(errs, f"{path}.{field}", found, "name", "kind")
            if not found.get("apiGroup") and found.get("kind") != "PersistentVolumeClaim":
                errs.invalid(
                    f"{path}.{field}",
                    found.get("kind", ""),
                    "must be 'PersistentVolumeClaim' when referencing the default apiGroup",
                )
            if group := found.get("apiGroup"):
                checks.named(errs, f"{path}.{field}.apiGroup", group, names.dns1123_subdomain)
    if namespace := (reference or {}).get("namespace"):
        checks.named(errs, f"{path}.dataSourceRef.namespace", namespace, names.dns1123_label)
        if source is not None:
            errs.invalid(path, {}, "may not be specified when dataSourceRef.namespace is specified")
    elif (
        source is not None
        and reference is not None
        and any((source.get(field) or "") != (reference.get(field) or "") for field in ("apiGroup", "kind", "name"))
    ):
        errs.invalid(path, {}, "must match dataSourceRef")


def validate_template(template: Obj, path: str, errs: FieldErrors) -> None:
    """A pod's template of a claim: of its metadata, labels and annotations only."""
    validate_template_metadata(template, path, errs)
    validate_spec(template.get("spec") or {}, f"{path}.spec", errs)


def validate_template_metadata(template: Obj, path: str, errs: FieldErrors) -> None:
    metadata: Obj = template.get("metadata") or {}
    for key in metadata.get("annotations") or ():
        checks.named(errs, f"{path}.metadata.annotations", key.lower(), names.qualified_name)
    checks.label_map(errs, f"{path}.metadata.labels", metadata.get("labels"))
    for field, value in metadata.items():
        if field not in TEMPLATE_META and value is not None and (value or field not in META_TEXTS):
            errs.forbidden(f"{path}.metadata.{META_FIELDS.get(field, field)}", "cannot be set")
