"""From a CustomResourceDefinition to Kinds: one per version, and one that stands for all of them.

Source: apiextensions' customresource_handler.go, tableconvertor.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import orjson

from navarch.api.apiextensions.custom import CustomVersion, version_schema
from navarch.api.apiextensions.customresourcedefinition import storage_version, versions_of
from navarch.api.kind import SCALE, Kind, Row, Subresource, Version, status_of
from navarch.api.meta import STANDARD_FINALIZERS, keep_metadata
from navarch.machinery import names
from navarch.machinery.structural.paths import find, json_path
from navarch.machinery.tables import AGE_DESCRIPTION, INVALID, Column, age
from navarch.machinery.types import GroupResource, Obj

_KUBE_VERSION = re.compile(r"v([0-9]+)(?:(alpha|beta)([0-9]+))?", re.ASCII)

VERBS = ("delete", "deletecollection", "get", "list", "patch", "create", "update", "watch")


@dataclass(frozen=True, slots=True)
class CustomKind:
    """What a definition makes. `source` is its JSON."""

    name: str
    whole: Kind
    """Stands for all versions that are served, the stored one first where it is among them."""
    by_version: Mapping[str, Kind]
    """Every version that is served or stored, as its own hub."""
    compiled: Mapping[str, CustomVersion]
    served: Sequence[str]
    storage: str
    conversion: Obj
    source: bytes

    @property
    def resource(self) -> GroupResource:
        return self.whole.group_resource

    def schema_of(self, version: str) -> Obj:
        """The openAPIV3Schema, read anew."""
        return version_schema(self.source, version)


def custom_kind(crd: Obj, source: bytes) -> CustomKind:
    """Of a definition whose names are accepted."""
    group, accepted, storage = crd["spec"]["group"], crd["status"]["acceptedNames"], storage_version(crd)
    given = [v for v in versions_of(crd) if v.get("served") or v["name"] == storage]
    compiled = {
        v["name"]: CustomVersion(source, v["name"], accepted["kind"], (v.get("subresources") or {}).get("scale"))
        for v in given
    }
    versions = {v["name"]: _version(group, v, accepted["kind"], compiled[v["name"]], crd) for v in given}
    served = [v["name"] for v in given if v.get("served")]
    by_version = {v["name"]: _kind(crd, accepted, v, versions, compiled[v["name"]]) for v in given}
    first = storage if storage in served or not served else served[0]
    stored: Mapping[str, Any] = {"storage": f"{group}/{storage}/{accepted['kind']}"}
    ordered = [versions[first], *(versions[name] for name in served if name != first)]
    every = sorted({f["jsonPath"] for v in given for f in v.get("selectableFields") or ()})
    whole = replace(
        by_version[first],
        versions=tuple(ordered),
        fields=_fields(every),
        extra={**stored, "subresources": {name: by_version[name].subresources for name in served}},
    )
    conversion = crd["spec"].get("conversion") or {}
    return CustomKind(crd["metadata"]["name"], whole, by_version, compiled, served, storage, conversion, source)


def definition_name(group: str, version: str, kind: str) -> str:
    """How the schema is published: the group backwards, `com.example.v1.Foo`."""
    return ".".join([*reversed(group.split(".")), version, kind])


def _version(group: str, given: Obj, kind: str, compiled: CustomVersion, crd: Obj) -> Version:
    return Version(
        group=group,
        version=given["name"],
        definition=definition_name(group, given["name"], kind),
        defaults=compiled.default,
        validate_create=compiled.validate_create,
        validate_update=compiled.validate_update,
        deprecation=_deprecation(crd, given),
        shape=lambda: compiled.schema,
        clean=compiled.clean,
        clean_applied=compiled.clean_applied,
    )


def _deprecation(crd: Obj, given: Obj) -> str:
    if not given.get("deprecated"):
        return ""
    if (text := given.get("deprecationWarning")) is not None:
        return text
    group, kind, mine = crd["spec"]["group"], crd["spec"]["names"]["kind"], given["name"]
    newer = [
        v["name"]
        for v in versions_of(crd)
        if v.get("served") and not v.get("deprecated") and version_order(v["name"]) < version_order(mine)
    ]
    use = f"; use {group}/{min(newer, key=version_order)} {kind}" if newer else ""
    return f"{group}/{mine} {kind} is deprecated{use}"


def version_order(name: str) -> tuple[int, int, int, str]:
    """Sorts v2 before v1 before v1beta1 before v1alpha1 before all other names, those by the alphabet."""
    match = _KUBE_VERSION.fullmatch(name)
    if match is None:
        return 3, 0, 0, name
    stage = {None: 0, "beta": 1, "alpha": 2}[match[2]]
    return stage, -int(match[1]), -int(match[3] or 0), ""


def _kind(crd: Obj, accepted: Obj, given: Obj, versions: Mapping[str, Version], compiled: CustomVersion) -> Kind:
    mine = versions[given["name"]]
    columns, row = _printing(given)
    fields = [f["jsonPath"] for f in given.get("selectableFields") or ()]
    subresources: Obj = given.get("subresources") or {}
    scale = subresources.get("scale")
    return Kind(
        kind=accepted["kind"],
        plural=accepted["plural"],
        singular=accepted.get("singular") or "",
        listed_as=accepted.get("listKind") or "",
        short_names=tuple(accepted.get("shortNames") or ()),
        categories=tuple(accepted.get("categories") or ()),
        namespaced=crd["spec"]["scope"] == "Namespaced",
        versions=(mine, *(v for v in versions.values() if v is not mine)),
        verbs=VERBS,
        subresources=_subresources(subresources, accepted["kind"]),
        prepare_status_update=keep_metadata,
        validate_status_update=compiled.validate_status_update,
        warnings=_warnings,
        has_generation=True,
        allow_unconditional_update=False,
        columns=columns,
        row=row,
        qualified_finalizers=False,
        typed_items=True,
        fields=_fields(fields),
        extra={"scale": _scale_paths(scale)} if scale is not None else {},
    )


def _subresources(given: Obj, kind: str) -> tuple[Subresource, ...]:
    found: list[Subresource] = []
    if given.get("status") is not None:
        found.append(status_of(kind))
    if given.get("scale") is not None:
        found.append(SCALE)
    return tuple(found)


def _scale_paths(scale: Obj) -> Obj:
    return {
        "spec": scale["specReplicasPath"],
        "status": scale["statusReplicasPath"],
        "selector": scale.get("labelSelectorPath") or "",
    }


# -- reading


def _fields(paths: Sequence[str]) -> Callable[[Obj], Mapping[str, str]]:
    compiled = [(path.removeprefix("."), json_path(path) or []) for path in paths]

    def fields(obj: Obj) -> Mapping[str, str]:
        return {name: _field_text(find(steps, obj)) for name, steps in compiled}

    return fields


def _field_text(found: list[Any]) -> str:
    value = found[0] if found else None
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _printing(given: Obj) -> tuple[tuple[Column, ...], Row]:
    asked: list[Obj] = given.get("additionalPrinterColumns") or [
        {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp", "description": AGE_DESCRIPTION}
    ]
    columns = [Column(name="Name", format="name")]
    cells: list[tuple[str, list[tuple[str, str]]]] = []
    for column in asked:
        steps = json_path(column["jsonPath"])
        if steps is None:
            break
        what = f"Custom resource definition column (in JSONPath format): {column['jsonPath']}"
        columns.append(
            Column(
                name=column["name"],
                type=column["type"],
                format=column.get("format") or "",
                description=column.get("description") or what,
                priority=column.get("priority") or 0,
            )
        )
        cells.append((column["type"], steps))

    def row(obj: Obj, now: float) -> list[Any]:
        found: list[Any] = [obj["metadata"].get("name", "")]
        for type_, steps in cells:
            values = find(steps, obj)
            found.append(_cell(type_, values[0], now) if values else None)
        return found

    return tuple(columns), row


def _cell(type_: str, value: Any, now: float) -> Any:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    match type_:
        case "string":
            return _text(value)
        case "integer" if is_number:
            return int(value)
        case "number" if is_number:
            return float(value)
        case "boolean" if isinstance(value, bool):
            return value
        case "date" if isinstance(value, str):
            shown = age(value, now)
            return INVALID if value and shown == "<unknown>" else shown
        case _:
            return None


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return orjson.dumps(value).decode()


def _warnings(obj: Obj, old: Obj | None) -> list[str]:
    """About new finalizers whose names may collide."""
    finalizers: set[str] = set(obj["metadata"].get("finalizers") or ())
    if old is not None:
        finalizers -= set(old["metadata"].get("finalizers") or ())
    found: list[str] = []
    for name in sorted(finalizers):
        start = f'metadata.finalizers: "{name}": '
        found += [start + message for message in names.qualified_name(name)]
        if "/" not in name and name not in STANDARD_FINALIZERS:
            path = " including a path (/)" if "." in name else ""
            found.append(
                f"{start}prefer a domain-qualified finalizer name{path} to avoid accidental conflicts with other "
                "finalizer writers"
            )
    return found
