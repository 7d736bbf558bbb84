"""What the API serves, read from its own discovery: for controllers that deal with every resource."""

from __future__ import annotations

from typing import NamedTuple

from navarch.client.interface import Client, Resource
from navarch.machinery.errors import StatusError

RETIRED = "extensions"


class Served(NamedTuple):
    resource: Resource
    kind: str
    verbs: frozenset[str]


class Mapped(NamedTuple):
    resource: Resource
    has_scale: bool


async def resource_of(client: Client, api_version: str, kind: str) -> Mapped:
    """The resource that serves a kind. Raises StatusError 404 where the version has no such kind, or there is none."""
    group, _, version = api_version.rpartition("/")
    missing = StatusError(404, "NotFound", f'no matches for kind "{kind}" in version "{api_version}"')
    try:
        listed = await client.raw("GET", f"/apis/{api_version}" if group else f"/api/{version}")
    except StatusError as error:
        raise missing if error.code == 404 else error from None
    entries = listed.get("resources") or ()
    names = {entry["name"] for entry in entries}
    for entry in entries:
        if entry["kind"] == kind and "/" not in entry["name"]:
            resource = Resource(group, version, entry["name"], bool(entry.get("namespaced")))
            return Mapped(resource, f"{entry['name']}/scale" in names)
    raise missing


async def served(client: Client, failed: dict[str, str]) -> list[Served]:
    """Every resource (no subresources) in its group's preferred version, or the first version that has it. What cannot be
    discovered, for its extension server does not answer, is put into `failed`: group version -> why.

    The retired group `extensions` is left out: other groups have all its kinds, and the same objects."""
    versions = ["/api/v1"]
    groups = await client.raw("GET", "/apis")
    for group in groups.get("groups") or ():
        if group["name"] == RETIRED:
            continue
        preferred = (group.get("preferredVersion") or {}).get("groupVersion", "")
        names = [version["groupVersion"] for version in group.get("versions") or ()]
        versions += [f"/apis/{name}" for name in sorted(names, key=lambda name: name != preferred)]
    found: dict[tuple[str, str], Served] = {}
    stored: set[tuple[str, str]] = set()
    """(plural, storage version hash): the same objects may be served by another, retired group too."""
    for path in versions:
        try:
            listed = await client.raw("GET", path)
        except StatusError as error:
            failed[path.removeprefix("/apis/")] = error.message
            continue
        group, _, version = listed["groupVersion"].rpartition("/")
        for entry in listed.get("resources") or ():
            if "/" in entry["name"]:
                continue
            storage = (entry["name"], entry.get("storageVersionHash", ""))
            if storage in stored and (group, entry["name"]) not in found:
                continue
            if storage[1]:
                stored.add(storage)
            resource = Resource(group, version, entry["name"], bool(entry.get("namespaced")))
            found.setdefault(
                (group, entry["name"]), Served(resource, entry["kind"], frozenset(entry.get("verbs") or ()))
            )
    return list(found.values())
