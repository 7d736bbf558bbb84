"""Where pods would go: the scheduler's own cycle on nodes and pods from files, without a cluster.

Nothing runs and nothing changes but the arrays: pods are tried by priority, then in the order of the files; those that push
others out do, and who was pushed out is tried again. Workloads stand for their pods. Pure.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from navarch.api.features import GANGS, TOPOLOGY, WORKLOADS, Features
from navarch.api.scheme import by_kind
from navarch.apiserver.codec import STRICT, decode_object
from navarch.controllers.daemonset import placement as daemons
from navarch.machinery import errors, trees
from navarch.machinery.types import GroupKind, Key, Obj, key_of
from navarch.machinery.yamltext import parse_yaml
from navarch.scheduler.advice import smallest_change
from navarch.scheduler.cycle import Cycle
from navarch.scheduler.groupcycle import UNSCHEDULABLE, WAITS, Edge, GroupCycle
from navarch.scheduler.groups import group_of
from navarch.scheduler.plugins.volumes import VolumeBinding
from navarch.scheduler.podinfo import PodInfo
from navarch.scheduler.preemption import Preemption, Preemptor
from navarch.scheduler.profiles import NAME, Profile
from navarch.scheduler.surroundings import OWNERS
from navarch.scheduler.watching import Cluster

NOW = "1970-01-01T00:00:00Z"
MAX_PODS = 200_000
GROUPS = Features(frozenset((WORKLOADS, GANGS, TOPOLOGY)))
"""Pod groups are taken for what they are."""


@dataclass(frozen=True, slots=True)
class Placed:
    pod: str
    node: str
    """Empty where it fits nowhere."""
    why: str = ""
    change: str = ""
    """The smallest change that would make it fit."""


@dataclass(frozen=True, slots=True)
class Use:
    """Of a node, or of all together: resource -> (requested, allocatable), in the scheduler's units."""

    node: str
    pods: int
    amounts: dict[str, tuple[int, int]]


@dataclass(slots=True)
class Outcome:
    placed: list[Placed] = field(default_factory=list)
    evicted: list[str] = field(default_factory=list)
    """Pods that had to make room, whether they found another node or not."""
    nodes: list[Use] = field(default_factory=list)

    @property
    def total(self) -> Use:
        amounts: dict[str, tuple[int, int]] = {}
        for use in self.nodes:
            for name, (requested, allocatable) in use.amounts.items():
                before = amounts.get(name, (0, 0))
                amounts[name] = before[0] + requested, before[1] + allocatable
        return Use("", sum(use.pods for use in self.nodes), amounts)


# -- reading


def read(text: bytes) -> list[Obj]:
    """The objects of a stream of YAML documents (or of JSON), Lists unpacked, defaulted as the API server does.
    Raises StatusError 400."""
    found: list[Obj] = []
    for document in _documents(text):
        tree = parse_yaml(document)
        if tree is not None:
            found += [_decoded(each) for each in _unpacked(tree)]
    return found


def _documents(text: bytes) -> Iterator[bytes]:
    part: list[bytes] = []
    for line in text.splitlines(keepends=True):
        if line.rstrip() == b"---":
            yield b"".join(part)
            part = []
        else:
            part.append(line)
    yield b"".join(part)


def _unpacked(tree: Any) -> Iterator[Obj]:
    if not isinstance(tree, dict):
        raise errors.bad_request("not an object")
    obj: Obj = tree
    if str(obj.get("kind", "")).endswith("List") and isinstance(obj.get("items"), list):
        for item in obj["items"]:
            yield from _unpacked(item)
    else:
        yield obj


def _decoded(tree: Obj) -> Obj:
    group, slash, _ = str(tree.get("apiVersion", "")).rpartition("/")
    found = by_kind().get(GroupKind(group if slash else "", str(tree.get("kind", ""))))
    if found is None:
        raise errors.bad_request(f'no kind "{tree.get("kind", "")}" in "{tree.get("apiVersion", "")}"')
    kind, newest = found
    wanted = next((v for v in kind.versions if v.api_version == tree["apiVersion"]), newest)
    obj = decode_object(kind, wanted, tree, STRICT, [])
    if kind.namespaced:
        obj["metadata"].setdefault("namespace", "default")
    if not obj["metadata"].get("name"):
        prefix = obj["metadata"].get("generateName")
        if not prefix:
            raise errors.bad_request(f"{kind.kind}: metadata.name is missing")
        obj["metadata"]["name"] = prefix
    obj["metadata"].setdefault("uid", f"{kind.plural}/{obj['metadata'].get('namespace', '')}/{obj['metadata']['name']}")
    return obj


# -- pods of workloads


def pods_of(obj: Obj, nodes: Sequence[Obj]) -> Iterator[Obj]:
    """The pods that an object stands for; none for kinds without pods."""
    kind, spec = obj["kind"], obj.get("spec") or {}
    if kind == "Pod":
        yield obj
    elif kind in ("Deployment", "ReplicaSet", "ReplicationController", "StatefulSet"):
        for index in range(_replicas(spec)):
            yield _made(obj, spec["template"], index)
    elif kind == "Job":
        wanted = [n for n in (spec.get("parallelism"), spec.get("completions")) if n is not None]
        for index in range(min(wanted, default=1)):
            yield _made(obj, spec["template"], index)
    elif kind == "DaemonSet":
        fit = daemons.fit_of(obj)
        for node in nodes:
            if fit.on(node)[0]:
                made = daemons.new_pod(obj, node["metadata"]["name"], "simulated")
                name = f"{obj['metadata']['name']}-{node['metadata']['name']}"
                yield _named(_default(made), obj, name)


def _replicas(spec: Obj) -> int:
    wanted: int | None = spec.get("replicas")
    return 1 if wanted is None else wanted


def _made(owner: Obj, template: Obj, index: int) -> Obj:
    pod: Obj = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": trees.copy(template.get("metadata") or {}),
        "spec": trees.copy(template["spec"]),
    }
    reference = {"kind": owner["kind"], "apiVersion": owner["apiVersion"], "controller": True}
    meta = owner["metadata"]
    pod["metadata"]["ownerReferences"] = [{**reference, "name": meta["name"], "uid": meta["uid"]}]
    made = _named(_default(pod), owner, f"{meta['name']}-{index}")
    for claim in owner["spec"].get("volumeClaimTemplates") or ():
        name = claim["metadata"]["name"]
        volume = {"name": name, "persistentVolumeClaim": {"claimName": _claim_name(owner, claim, index)}}
        others = [v for v in made["spec"].get("volumes") or () if v["name"] != name]
        made["spec"]["volumes"] = [*others, volume]
    return made


def _claim_name(stateful_set: Obj, template: Obj, index: int) -> str:
    return f"{template['metadata']['name']}-{stateful_set['metadata']['name']}-{index}"


def claims_of(stateful_set: Obj) -> Iterator[Obj]:
    """The claims that a stateful set's pods get."""
    namespace = stateful_set["metadata"].get("namespace", "default")
    for index in range(_replicas(stateful_set["spec"])):
        for template in stateful_set["spec"].get("volumeClaimTemplates") or ():
            name = _claim_name(stateful_set, template, index)
            meta = {"name": name, "namespace": namespace, "uid": f"persistentvolumeclaims/{namespace}/{name}"}
            yield {"kind": "PersistentVolumeClaim", "metadata": meta, "spec": template["spec"], "status": {}}


def _default(pod: Obj) -> Obj:
    kind, version = by_kind()[GroupKind("", "Pod")]
    return decode_object(kind, version, {"apiVersion": "v1", "kind": "Pod", **pod}, "Ignore", [])


def _named(pod: Obj, owner: Obj, name: str) -> Obj:
    namespace = owner["metadata"].get("namespace", "default")
    meta = {**pod["metadata"], "name": name, "namespace": namespace, "uid": f"pods/{namespace}/{name}"}
    return {**pod, "metadata": meta}


# -- running


class Simulation:
    """`objects`: nodes, pods, workloads, and what else decides: classes of priority, volumes and claims, services, budgets,
    namespaces. Pods that name a node are there from the beginning."""

    def __init__(self, objects: Iterable[Obj], profile: Profile, seed: int = 0) -> None:
        self._cluster = Cluster.empty()
        self._random = random.Random(seed)
        cluster = self._cluster
        self._cycle = Cycle(cluster.nodes, self._random, profile.plugins(), cluster.around, cluster.nominations)
        least = profile.least_candidates_percent, profile.least_candidates
        self._preemptor = Preemptor(self._cycle, self._random, *least) if profile.preempts else None
        self._waiting: list[PodInfo] = []
        known = list(objects)
        names = frozenset(str(obj["spec"].get("schedulerName", "")) for obj in known if obj["kind"] == "Pod")
        cluster.groups.features, cluster.groups.names = GROUPS, names | {NAME}
        nodes = [obj for obj in known if obj["kind"] == "Node"]
        self._priorities = {o["metadata"]["name"]: o for o in known if o["kind"] == "PriorityClass"}
        for obj in known:
            self._take_in(obj)
        pods = itertools.chain.from_iterable(pods_of(obj, nodes) for obj in known)
        for pod in itertools.islice(pods, MAX_PODS):
            info = PodInfo.of(self._with_priority(pod))
            cluster.groups.put(info.obj)
            if info.node:
                cluster.nodes.set_pod(info, info.node)
            else:
                self._waiting.append(info)

    def _take_in(self, obj: Obj) -> None:
        around, storage, kind, key = self._cluster.around, self._cluster.around.storage, obj["kind"], key_of(obj)
        match kind:
            case "Node":
                self._cluster.nodes.set_node(obj)
            case "PodGroup":
                self._cluster.groups.objects[key] = obj
            case "Namespace":
                around.namespaces[key.name] = obj["metadata"].get("labels") or {}
                self._cluster.nodes.counts.namespaces_changed(around.namespaces)
            case "Service":
                around.set_service(key, obj)
            case "PodDisruptionBudget":
                around.budgets[key] = obj
            case "StorageClass":
                storage.classes[key.name] = obj
            case "PersistentVolume":
                phase = (obj.get("status") or {}).get("phase", "Pending")
                storage.volumes[key.name] = {**obj, "status": {"phase": "Available" if phase == "Pending" else phase}}
            case "PersistentVolumeClaim":
                storage.claims[key] = obj
            case _ if kind in OWNERS:
                around.set_owner(kind, key, obj)
                for claim in claims_of(obj) if kind == "StatefulSet" else ():
                    storage.claims.setdefault(key_of(claim), claim)
            case _:
                pass

    def _with_priority(self, pod: Obj) -> Obj:
        """As admission resolves it: by name, else the default class."""
        spec = pod["spec"]
        if spec.get("priority") is not None:
            return pod
        named = self._priorities.get(spec.get("priorityClassName") or "")
        default = next((c for c in self._priorities.values() if c.get("globalDefault")), None)
        found = named or (None if spec.get("priorityClassName") else default)
        if found is None:
            return pod
        policy = found.get("preemptionPolicy") or "PreemptLowerPriority"
        return {**pod, "spec": {**spec, "priority": found["value"], "preemptionPolicy": policy}}

    def run(self) -> Outcome:
        outcome = Outcome()
        waiting = sorted(self._waiting, key=lambda info: -info.priority)
        while waiting:
            info = waiting.pop(0)
            if (key := self._cluster.groups.key_of(info)) is not None:
                together = [info, *(other for other in waiting if group_of(other.obj) == key)]
                waiting = [other for other in waiting if group_of(other.obj) != key]
                self._try_group(key, together, outcome)
                continue
            decision = self._cycle.decide(info)
            if decision.node:
                self._place(info, decision.node)
                outcome.placed.append(Placed(str(info.key), decision.node))
                continue
            victims = self._make_room(info, outcome)
            if victims:
                waiting[:0] = [info]
                waiting += sorted(victims, key=lambda victim: -victim.priority)
            else:
                change = smallest_change(self._cycle, info)
                outcome.placed.append(Placed(str(info.key), "", decision.message, change))
        outcome.nodes = [self._use(slot) for slot in range(self._cycle.nodes.size) if self._cycle.nodes.alive[slot]]
        return outcome

    def _try_group(self, key: Key, pods: list[PodInfo], outcome: Outcome) -> None:
        """All that are enough, or none. Nobody makes room for a group here."""
        why = self._cluster.groups.waits_for(pods[0])
        if why:
            outcome.placed += [Placed(str(info.key), "", why) for info in pods]
            return
        edge = Edge(lambda info, node: lambda: None, lambda info: Preemption(looked=False), lambda *_: "")
        decision = GroupCycle(self._cycle, self._cluster.groups, self._random, edge).decide(key, pods)
        if not decision.members:
            outcome.placed += [Placed(str(info.key), "", decision.message) for info in pods]
        for member in decision.members:
            info, said = member.info, member.decision
            if decision.schedulable and said.node:
                self._place(info, said.node)
                self._cluster.groups.assume(info, True)
                outcome.placed.append(Placed(str(info.key), said.node))
            else:
                message = f"{UNSCHEDULABLE}, {WAITS}" if said.node else said.message
                change = "" if said.node else smallest_change(self._cycle, info)
                outcome.placed.append(Placed(str(info.key), "", message, change))

    def _place(self, info: PodInfo, node: str) -> None:
        nodes, storage = self._cycle.nodes, self._cluster.around.storage
        slot = nodes.slot(node)
        obj = nodes.objects[slot] if slot is not None else None
        if info.claims and obj is not None:
            choice = VolumeBinding.choose(info, storage, obj)
            if not isinstance(choice, str):
                storage.promise(choice, node)
        nodes.set_pod(info, node)

    def _make_room(self, info: PodInfo, outcome: Outcome) -> list[PodInfo]:
        """Takes the victims off their node; they wait again."""
        if self._preemptor is None:
            return []
        found = self._preemptor.preempt(info, self._cycle.verdict(info), NOW).candidate
        if found is None:
            return []
        gone = {str(victim.key) for victim in found.victims}
        for victim in found.victims:
            self._cycle.nodes.remove_pod(victim.key)
        outcome.placed = [placed for placed in outcome.placed if placed.pod not in gone]
        outcome.evicted += sorted(gone)
        return [PodInfo.of(_unbound(victim.obj)) for victim in found.victims]

    def _use(self, slot: int) -> Use:
        nodes = self._cycle.nodes
        amounts = {
            name: (int(nodes.used(name)[slot]), int(column[slot]))
            for name, column in nodes.allocatable.items()
            if name != "pods" and int(column[slot])
        }
        return Use(nodes.names[slot], len(nodes.residents[slot]), amounts)


def _unbound(pod: Obj) -> Obj:
    return {**pod, "spec": {name: value for name, value in pod["spec"].items() if name != "nodeName"}}
