"""The flow schemas and priority levels that every cluster has, made and kept. Source: registry/flowcontrol's ensurer."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING

from navarch.api.flowcontrol import bootstrap
from navarch.client.interface import Resource
from navarch.client.resources import FLOW_SCHEMAS, PRIORITY_LEVELS
from navarch.machinery.errors import StatusError
from navarch.machinery.types import GroupResource, Obj

if TYPE_CHECKING:
    from navarch.apiserver.server import ApiServer

OBJECTS: tuple[tuple[Resource, Mapping[str, Obj], bool], ...] = (
    (PRIORITY_LEVELS, bootstrap.MANDATORY_LEVELS, True),
    (PRIORITY_LEVELS, bootstrap.SUGGESTED_LEVELS, False),
    (FLOW_SCHEMAS, bootstrap.MANDATORY_SCHEMAS, True),
    (FLOW_SCHEMAS, bootstrap.SUGGESTED_SCHEMAS, False),
)
"""Resource, specs by name, and whether they are mandatory."""


async def ensure(server: ApiServer) -> None:
    """Creates what is missing, and puts right what may not differ. All at once: the writes share the store's commits."""
    await asyncio.gather(
        *(
            _keep(server, resource, name, spec, mandatory)
            for resource, specs, mandatory in OBJECTS
            for name, spec in specs.items()
        )
    )


async def _keep(server: ApiServer, resource: Resource, name: str, spec: Obj, mandatory: bool) -> None:
    entry = server.registries[GroupResource(resource.group, resource.plural)].cache.get("", name)
    found = entry.obj if entry is not None else None
    wanted = corrected(found, name, spec, mandatory)
    try:
        if wanted is None:
            return
        if found is None:
            await server.system.create(resource, wanted, "")
        else:
            await server.system.update(resource, wanted, "")
    except StatusError as error:
        if error.reason not in ("AlreadyExists", "Conflict"):  # another server was first
            raise


def corrected(found: Obj | None, name: str, spec: Obj, mandatory: bool) -> Obj | None:
    """What is to be stored; None: nothing. The annotation of a suggested object says whether its spec is ours to keep;
    without it, it is while nobody has changed it. A mandatory one's annotation is set right as well."""
    if found is None:
        return {"metadata": {"name": name, "annotations": {bootstrap.AUTO_UPDATE: "true"}}, "spec": spec}
    annotations = found["metadata"].get("annotations") or {}
    marked = annotations.get(bootstrap.AUTO_UPDATE)
    ours = mandatory or (marked == "true" if marked is not None else found["metadata"].get("generation") == 1)
    mark = "true" if ours else "false"
    kept = _freely_changed(found.get("spec") or {}, spec, name, mandatory) if ours else found.get("spec")
    if marked == mark and kept == found.get("spec"):
        return None
    metadata = {**found["metadata"], "annotations": {**annotations, bootstrap.AUTO_UPDATE: mark}}
    return {**found, "metadata": metadata, "spec": kept}


def _freely_changed(found: Obj, spec: Obj, name: str, mandatory: bool) -> Obj:
    """The exempt level's own numbers may be the user's."""
    if mandatory and name == bootstrap.EXEMPT and "exempt" in spec and "exempt" in found:
        return {**spec, "exempt": found["exempt"]}
    return spec
