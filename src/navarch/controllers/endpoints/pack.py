"""Packs endpoints into slices (of at most 100, usually), changing as few slices as can be. Pure.

Source of the rules: upstream's k8s.io/endpointslice reconciler (reconcileByPortMapping).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from navarch.client.resources import ENDPOINT_SLICES
from navarch.controllers import objects
from navarch.controlloop.plan import Action, Create, Delete, Update
from navarch.machinery.types import Obj, key_of

MAX_ENDPOINTS = 100


@dataclass(slots=True)
class Group:
    """Endpoints that listen on the same ports, of one address type."""

    address_type: str
    ports: Sequence[Obj]
    endpoints: list[Obj] = field(default_factory=list)
    limit: int = MAX_ENDPOINTS
    """Of the endpoints in one slice."""


def group_key(address_type: str, ports: Sequence[Obj]) -> bytes:
    ordered = sorted((p.get("name", ""), p.get("protocol", "TCP"), p.get("port"), p.get("appProtocol")) for p in ports)
    return orjson.dumps([address_type, ordered])


def identity(endpoint: Obj) -> tuple[Any, ...]:
    """Endpoints are the same one when address and target are."""
    target = endpoint.get("targetRef") or {}
    return tuple(endpoint["addresses"]), target.get("namespace"), target.get("name"), target.get("uid")


def pack(
    owner: Obj,
    owner_reference: Obj,
    existing: Sequence[Obj],
    groups: Iterable[Group],
    labels: Mapping[str, str],
    annotations: Mapping[str, str] | None = None,
) -> list[Action]:
    """The writes that make `existing` hold exactly the groups' endpoints. Slices of no group go."""
    wanted = {group_key(group.address_type, group.ports): group for group in groups}
    have: dict[bytes, list[Obj]] = {key: [] for key in wanted}
    actions: list[Action] = []
    for old in existing:
        key = group_key(old.get("addressType", "IPv4"), old.get("ports") or ())
        if key in have:
            have[key].append(old)
        else:
            actions.append(Delete(ENDPOINT_SLICES, key_of(old), objects.uid_of(old)))
    for key, group in wanted.items():
        actions.extend(_pack_group(owner, owner_reference, have[key], group, dict(labels), annotations))
    return actions


def _pack_group(
    owner: Obj,
    owner_reference: Obj,
    existing: Sequence[Obj],
    group: Group,
    labels: dict[str, str],
    annotations: Mapping[str, str] | None,
) -> list[Action]:
    left = {identity(endpoint): endpoint for endpoint in group.endpoints}
    kept: list[tuple[Obj, list[Obj]]] = []
    for old in sorted(existing, key=lambda s: s["metadata"]["name"]):
        mine = [left.pop(identity(e)) for e in old.get("endpoints") or () if identity(e) in left]
        kept.append((old, mine))
    rest = list(left.values())
    # What is new goes where something changes anyway; else where there is most room; else into slices of its own.
    by_change = sorted(kept, key=lambda pair: (pair[1] == list(pair[0].get("endpoints") or ()), len(pair[1])))
    for _, mine in by_change:
        take = group.limit - len(mine)
        mine.extend(rest[:take])
        rest = rest[take:]
    fresh = [rest[i : i + group.limit] for i in range(0, len(rest), group.limit)]
    actions: list[Action] = []
    survivors = [pair for pair in kept if pair[1]]
    if not survivors and not fresh:
        survivors = kept[:1]
        fresh = [] if survivors else [[]]
    for old, mine in kept:
        if not any(old is survivor for survivor, _ in survivors):
            actions.append(Delete(ENDPOINT_SLICES, key_of(old), objects.uid_of(old)))
        elif list(old.get("endpoints") or ()) != mine or not _describes(old, labels, annotations, group):
            actions.append(Update(ENDPOINT_SLICES, _updated(old, mine, labels, annotations, group)))
    made = (_new(owner, owner_reference, group, endpoints, labels, annotations) for endpoints in fresh)
    return [*actions, *(Create(ENDPOINT_SLICES, new) for new in made)]


def _describes(old: Obj, labels: Mapping[str, str], annotations: Mapping[str, str] | None, group: Group) -> bool:
    if annotations is not None and objects.annotations_of(old) != annotations:
        return False
    return objects.labels_of(old) == labels and list(old.get("ports") or ()) == list(group.ports)


def _updated(
    old: Obj, endpoints: list[Obj], labels: dict[str, str], annotations: Mapping[str, str] | None, group: Group
) -> Obj:
    meta = {**old["metadata"], "labels": labels}
    if annotations is not None:
        meta["annotations"] = dict(annotations)
    return {**old, "metadata": meta, "endpoints": endpoints, "ports": list(group.ports)}


def _new(
    owner: Obj,
    owner_reference: Obj,
    group: Group,
    endpoints: list[Obj],
    labels: dict[str, str],
    annotations: Mapping[str, str] | None,
) -> Obj:
    meta: Obj = {
        "generateName": owner["metadata"]["name"] + "-",
        "namespace": owner["metadata"]["namespace"],
        "labels": labels,
        "ownerReferences": [owner_reference],
    }
    if annotations:
        meta["annotations"] = dict(annotations)
    return {
        "apiVersion": ENDPOINT_SLICES.api_version,
        "kind": "EndpointSlice",
        "metadata": meta,
        "addressType": group.address_type,
        "endpoints": endpoints,
        "ports": list(group.ports),
    }
