"""Extenders: HTTP servers that have a say in filtering, scoring, preempting and binding.

Source: pkg/scheduler/extender.go and kube-scheduler's extender/v1, whose JSON fields have the names of Go's.
"""

from __future__ import annotations

import base64
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import orjson

from navarch.http.client import Pool
from navarch.machinery.types import Obj
from navarch.scheduler.podinfo import PodInfo
from navarch.scheduler.preemption import Candidate

MAX_PRIORITY = 10
"""The best score that an extender gives."""


class ExtenderFailed(Exception):
    """It did not answer, or answered with an error."""


@dataclass(frozen=True, slots=True)
class ExtenderConfig:
    url: str
    filter_verb: str = ""
    prioritize_verb: str = ""
    preempt_verb: str = ""
    bind_verb: str = ""
    weight: int = 1
    timeout: float = 5.0
    knows_nodes: bool = False
    """nodeCacheCapable: names of nodes are enough for it."""
    ignorable: bool = False
    """Where it does not answer, scheduling goes on without it."""
    managed: frozenset[str] = frozenset()
    """Only pods that name one of these resources are its business; all, where there are none."""
    ignored: frozenset[str] = frozenset()
    """Those that the scheduler itself does not count."""
    tls: Mapping[str, Any] = field(default_factory=dict)

    @staticmethod
    def of(tree: Obj) -> ExtenderConfig:
        resources = tree.get("managedResources") or ()
        return ExtenderConfig(
            url=tree.get("urlPrefix", "").rstrip("/"),
            filter_verb=tree.get("filterVerb", ""),
            prioritize_verb=tree.get("prioritizeVerb", ""),
            preempt_verb=tree.get("preemptVerb", ""),
            bind_verb=tree.get("bindVerb", ""),
            weight=tree.get("weight") or 1,
            timeout=_seconds(tree.get("httpTimeout") or "5s"),
            knows_nodes=bool(tree.get("nodeCacheCapable")),
            ignorable=bool(tree.get("ignorable")),
            managed=frozenset(r["name"] for r in resources),
            ignored=frozenset(r["name"] for r in resources if r.get("ignoredByScheduler")),
            tls=tree.get("tlsConfig") or {},
        )


def _seconds(text: str) -> float:
    for unit, factor in (("ms", 0.001), ("s", 1.0), ("m", 60.0)):
        if text.endswith(unit):
            return float(text.removesuffix(unit)) * factor
    raise ValueError(f"httpTimeout {text!r} is not a duration")


class Extender:
    def __init__(self, config: ExtenderConfig) -> None:
        self.config = config
        parts = urlsplit(config.url)
        secure = parts.scheme == "https"
        port = parts.port or (443 if secure else 80)
        self._path = parts.path
        self._pool = Pool(parts.hostname or "", port, _context(config.tls) if secure else None)

    def close(self) -> None:
        self._pool.close()

    def is_interested(self, pod: PodInfo) -> bool:
        managed = self.config.managed
        if not managed:
            return True
        spec = pod.obj["spec"]
        for container in (*spec["containers"], *(spec.get("initContainers") or ())):
            resources = container.get("resources") or {}
            if any(name in managed for side in ("requests", "limits") for name in resources.get(side) or ()):
                return True
        return False

    # -- what it is asked

    async def filter(self, pod: PodInfo, nodes: Sequence[Obj]) -> tuple[list[str], dict[str, str], dict[str, str]]:
        """(names of the nodes that may stay, why others may not, and why not even if pods were removed)."""
        answer = await self._ask(self.config.filter_verb, {"Pod": pod.obj, **self._nodes(nodes)})
        if error := _field(answer, "Error"):
            raise ExtenderFailed(str(error))
        names = _field(answer, "NodeNames")
        if names is None:
            items = (_field(answer, "Nodes") or {}).get("items") or ()
            names = [node["metadata"]["name"] for node in items]
        known = {node["metadata"]["name"] for node in nodes}
        for name in names:
            if name not in known:
                raise ExtenderFailed(
                    f'extender "{self.config.url}" claims a filtered node "{name}" which is not found in the input node list'
                )
        failed = _field(answer, "FailedNodes") or {}
        hopeless = _field(answer, "FailedAndUnresolvableNodes") or {}
        return list(names), failed, hopeless

    async def prioritize(self, pod: PodInfo, nodes: Sequence[Obj]) -> dict[str, int]:
        """Points to add to nodes' scores, the weight included; only of nodes that it names."""
        answer = await self._ask(self.config.prioritize_verb, {"Pod": pod.obj, **self._nodes(nodes)})
        scale = self.config.weight * (100 // MAX_PRIORITY)
        return {_field(one, "Host"): int(_field(one, "Score") or 0) * scale for one in answer or ()}

    async def bind(self, pod: PodInfo, node: str) -> None:
        asked = {"PodName": pod.key.name, "PodNamespace": pod.key.namespace, "PodUID": pod.uid, "Node": node}
        answer = await self._ask(self.config.bind_verb, asked)
        if error := _field(answer, "Error"):
            raise ExtenderFailed(str(error))

    async def preempt(self, pod: PodInfo, candidates: Sequence[Candidate]) -> list[Candidate]:
        """The candidates that are left, perhaps with other victims (of those that were offered)."""
        if self.config.knows_nodes:
            offered = {
                c.node: {"Pods": [{"UID": v.uid} for v in c.victims], "NumPDBViolations": c.violations}
                for c in candidates
            }
            asked: Obj = {"Pod": pod.obj, "NodeNameToMetaVictims": offered}
        else:
            whole = {c.node: {"Pods": [v.obj for v in c.victims], "NumPDBViolations": c.violations} for c in candidates}
            asked = {"Pod": pod.obj, "NodeNameToVictims": whole}
        answer = _field(await self._ask(self.config.preempt_verb, asked), "NodeNameToMetaVictims") or {}
        left: list[Candidate] = []
        for candidate in candidates:
            chosen = answer.get(candidate.node)
            if chosen is None:
                continue
            uids = {_field(one, "UID") for one in _field(chosen, "Pods") or ()}
            victims = [victim for victim in candidate.victims if victim.uid in uids]
            if victims:
                left.append(Candidate(candidate.node, victims, int(_field(chosen, "NumPDBViolations") or 0)))
        return left

    def _nodes(self, nodes: Sequence[Obj]) -> Obj:
        if self.config.knows_nodes:
            return {"NodeNames": [node["metadata"]["name"] for node in nodes]}
        return {"Nodes": {"metadata": {}, "items": list(nodes)}}

    async def _ask(self, verb: str, body: Obj) -> Any:
        path, headers = f"{self._path}/{verb}", {"Content-Type": "application/json"}
        try:
            answer = await self._pool.request("POST", path, headers, orjson.dumps(body), self.config.timeout)
        except ConnectionError as error:
            raise ExtenderFailed(str(error)) from error
        if answer.status != 200:
            raise ExtenderFailed(f"failed {verb} with extender at URL {self.config.url}/{verb}, code {answer.status}")
        try:
            return orjson.loads(answer.body)
        except orjson.JSONDecodeError as error:
            raise ExtenderFailed(f"extender at URL {self.config.url}/{verb}: {error}") from error


def _field(tree: Any, name: str) -> Any:
    """A field by its name in any case, as Go reads JSON."""
    if not isinstance(tree, dict):
        return None
    found: dict[str, Any] = tree
    if name in found:
        return found[name]
    return next((value for key, value in found.items() if key.lower() == name.lower()), None)


def _context(tls: Mapping[str, Any]) -> ssl.SSLContext:
    """From caFile or caData, and certFile and keyFile; `insecure` believes anybody."""
    authorities = base64.b64decode(tls["caData"]).decode() if tls.get("caData") else None
    context = ssl.create_default_context(cafile=tls.get("caFile"), cadata=authorities)
    if tls.get("insecure"):
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if tls.get("certFile"):
        context.load_cert_chain(Path(tls["certFile"]), tls.get("keyFile"))
    return context
