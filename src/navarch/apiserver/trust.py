"""What extension servers need to know to believe this one: the config map extension-apiserver-authentication.

Source: controlplane's clusterauthenticationtrust.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson

from navarch.client.resources import CONFIG_MAPS
from navarch.machinery.errors import StatusError
from navarch.machinery.types import GroupResource, Obj

if TYPE_CHECKING:
    from navarch.apiserver.server import ApiServer, ApiServerConfig

NAMESPACE, NAME = "kube-system", "extension-apiserver-authentication"


def data(config: ApiServerConfig) -> dict[str, str]:
    """The map's data; empty where nobody is believed."""
    found: dict[str, str] = {}
    if config.client_ca_pem:
        found["client-ca-file"] = config.client_ca_pem.decode()
    authentication = config.authentication
    if authentication.front_proxy_ca_pem:
        found["requestheader-client-ca-file"] = authentication.front_proxy_ca_pem.decode()
        found["requestheader-allowed-names"] = _listed(sorted(authentication.front_proxy_names))
        found["requestheader-username-headers"] = _listed(["X-Remote-User"])
        found["requestheader-uid-headers"] = _listed(["X-Remote-Uid"])
        found["requestheader-group-headers"] = _listed(["X-Remote-Group"])
        found["requestheader-extra-headers-prefix"] = _listed(["X-Remote-Extra-"])
    return found


def _listed(words: list[str]) -> str:
    return orjson.dumps(words).decode()


def combined(old: dict[str, str], own: dict[str, str]) -> dict[str, str]:
    """Both: other servers beside this one may have other authorities."""
    found = dict(old)
    for key, value in own.items():
        before = old.get(key, "")
        if key.endswith("-ca-file"):
            found[key] = before if value.strip() in before else before + value
        else:
            known = _read(before)
            found[key] = _listed([*known, *(word for word in orjson.loads(value) if word not in known)])
    return found


def _read(text: str) -> list[str]:
    try:
        words = orjson.loads(text)
    except orjson.JSONDecodeError:
        return []
    return [word for word in words if isinstance(word, str)] if isinstance(words, list) else []


async def ensure(server: ApiServer) -> None:
    """Makes the map, or adds to it what is missing."""
    own = data(server.config)
    entry = server.registries[GroupResource("", "configmaps")].cache.get(NAMESPACE, NAME)
    if not own and entry is None:
        return
    try:
        if entry is None:
            obj: Obj = {"metadata": {"name": NAME, "namespace": NAMESPACE}, "data": own}
            await server.system.create(CONFIG_MAPS, obj, NAMESPACE)
        elif (wanted := combined(entry.obj.get("data") or {}, own)) != entry.obj.get("data"):
            await server.system.update(CONFIG_MAPS, {**entry.obj, "data": wanted}, NAMESPACE)
    except StatusError as error:
        if error.reason not in ("AlreadyExists", "Conflict"):  # another server was first, and looks again as we do
            raise
