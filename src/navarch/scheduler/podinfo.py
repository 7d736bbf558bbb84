"""What the scheduler reads of a pod, extracted once: a frozen view that the cycle and its plugins share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import orjson

from navarch.api.podspec.placement import HostPort, host_ports
from navarch.api.podspec.resources import counted, requests_of
from navarch.machinery.trees import get
from navarch.machinery.types import Key, Obj, key_of
from navarch.scheduler.storage import claims_named
from navarch.scheduler.terms import Spread, Terms, node_names, spread_of, terms_of

DEFAULTS = {"cpu": "100m", "memory": "200Mi"}
"""What a container that requests nothing counts as in scores (upstream's GetNonzeroRequests)."""

LabelClass = tuple[str, tuple[tuple[str, str], ...], bool]
"""Namespace, labels in order, and whether the pod is on its way out: pods alike in it match the same selectors."""


@dataclass(frozen=True, slots=True, eq=False)
class Shape:
    """Everything about a pod that decides where it fits, but for its name, priority and volumes. Pods alike share one."""

    namespace: str
    labels: Mapping[str, str]
    requests: tuple[tuple[str, int], ...]
    """Resource -> amount (cpu in milli, everything else in units), sorted by name; zero amounts left out."""
    scored: tuple[int, int]
    """cpu (milli) and memory (bytes) with the defaults for containers that request none."""
    host_ports: tuple[HostPort, ...]
    placement: bytes
    """The parts of the spec that tie a pod to nodes, encoded: pods alike in it share what was worked out for them."""
    names: frozenset[str] | None
    """The only nodes that required node affinity names, where it does."""
    terms: Terms
    spreads: tuple[Spread, ...]
    images: tuple[str, ...]
    """Of containers and of volumes, as often as they are named."""
    containers: int


@dataclass(frozen=True, slots=True)
class PodInfo:
    key: Key
    uid: str
    priority: int
    scheduler: str
    node: str
    """spec.nodeName; empty while unscheduled."""
    nominated: str
    """status.nominatedNodeName: where room is being made for it."""
    label_class: LabelClass
    claims: tuple[str, ...]
    """Names of the claims that its volumes use, its own ephemeral ones among them."""
    shape: Shape
    obj: Obj

    @staticmethod
    def of(pod: Obj) -> PodInfo:
        spec, meta = pod["spec"], pod["metadata"]
        labels = meta.get("labels") or {}
        ordered = tuple(sorted(labels.items()))
        return PodInfo(
            key=key_of(pod),
            uid=meta.get("uid", ""),
            priority=spec.get("priority") or 0,
            scheduler=spec.get("schedulerName", "default-scheduler"),
            node=spec.get("nodeName", ""),
            nominated=(pod.get("status") or {}).get("nominatedNodeName", ""),
            label_class=(meta.get("namespace", ""), ordered, "deletionTimestamp" in meta),
            claims=tuple(name for name, _ in claims_named(pod)),
            shape=_shape(counted(pod), meta.get("namespace", ""), labels, ordered),
            obj=pod,
        )

    @property
    def requests(self) -> tuple[tuple[str, int], ...]:
        return self.shape.requests

    @property
    def scored(self) -> tuple[int, int]:
        return self.shape.scored

    @property
    def host_ports(self) -> tuple[HostPort, ...]:
        return self.shape.host_ports

    @property
    def terminating(self) -> bool:
        return self.label_class[2]

    @property
    def preempts(self) -> bool:
        """Whether it may push others out."""
        return self.obj["spec"].get("preemptionPolicy") != "Never"

    def bound(self, pod: Obj) -> PodInfo:
        """The same pod as it was written when it got its node."""
        return replace(self, node=pod["spec"]["nodeName"], obj=pod)


_MAX_SHAPES = 4096
_shapes: dict[bytes, Shape] = {}


def _shape(spec: Obj, namespace: str, labels: Mapping[str, str], ordered: tuple[tuple[str, str], ...]) -> Shape:
    parts: list[Any] = [
        namespace,
        ordered,
        [_of_container(c) for c in spec["containers"]],
        [_of_container(c) for c in spec.get("initContainers") or ()],
        [spec.get(name) for name in _NAMED],
        _volume_images(spec),
    ]
    encoded = orjson.dumps(parts, option=orjson.OPT_SORT_KEYS)
    found = _shapes.get(encoded)
    if found is None:
        if len(_shapes) >= _MAX_SHAPES:
            _shapes.clear()
        found = _shapes[encoded] = _worked_out(spec, namespace, labels)
    return found


_NAMED = ("nodeSelector", "affinity", "tolerations", "topologySpreadConstraints", "overhead", "resources")


def _of_container(container: Obj) -> list[Any]:
    return [container.get("image"), container.get("resources"), container.get("ports"), container.get("restartPolicy")]


def _worked_out(spec: Obj, namespace: str, labels: Mapping[str, str]) -> Shape:
    requests, scored = pod_requests(spec)
    containers = [*(spec.get("initContainers") or ()), *spec["containers"]]
    return Shape(
        namespace=namespace,
        labels=dict(labels),
        requests=tuple(sorted((name, amount) for name, amount in requests.items() if amount)),
        scored=scored,
        host_ports=host_ports(spec),
        placement=placement_key(spec),
        names=node_names(spec),
        terms=terms_of(spec, namespace),
        spreads=tuple(spread_of(one, labels) for one in spec.get("topologySpreadConstraints") or ()),
        images=(*(container.get("image") or "" for container in containers), *_volume_images(spec)),
        containers=len(containers),
    )


def _volume_images(spec: Obj) -> list[str]:
    volumes = spec.get("volumes") or ()
    return [volume["image"].get("reference") or "" for volume in volumes if volume.get("image")]


def placement_key(spec: Obj) -> bytes:
    parts: list[Any] = [
        spec.get("nodeSelector"),
        get(spec, "affinity", "nodeAffinity"),
        spec.get("tolerations"),
    ]
    return orjson.dumps(parts, option=orjson.OPT_SORT_KEYS)


def pod_requests(spec: Obj) -> tuple[dict[str, int], tuple[int, int]]:
    """(requests, scored) of a pod."""
    total = requests_of(spec)
    guessed = {field: [_with_defaults(c) for c in spec.get(field) or ()] for field in ("containers", "initContainers")}
    scored = requests_of({**spec, **guessed})
    return total, (scored.get("cpu", 0), scored.get("memory", 0))


def _with_defaults(container: Obj) -> Obj:
    requests = get(container, "resources", "requests", default={})
    return {**container, "resources": {"requests": {**DEFAULTS, **requests}}}
