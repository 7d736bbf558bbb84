"""The scheduler's default plugins, plainly: loops over nodes and pods as upstream's code has them, nothing kept, nothing
shared with the scheduler but the reading of quantities and label selectors. What the array cycle is compared with."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import Any

from navarch.api.podspec.placement import term_matches, tolerates
from navarch.machinery.quantity import Quantity
from navarch.machinery.selectors import from_label_selector

Obj = dict[str, Any]
REQUIRED, PREFERRED = (
    "requiredDuringSchedulingIgnoredDuringExecution",
    "preferredDuringSchedulingIgnoredDuringExecution",
)
MB = 1024 * 1024


def labels(obj: Obj) -> dict[str, str]:
    return obj["metadata"].get("labels") or {}


def number(resource: str, text: Any) -> int:
    quantity = Quantity.parse(str(text))
    return quantity.milli() if resource == "cpu" else quantity.value()


class Plain:
    def __init__(self, nodes: list[Obj], placed: list[tuple[Obj, str]], namespaces: dict[str, dict[str, str]]) -> None:
        self.nodes = nodes
        self.pods = {
            node["metadata"]["name"]: [p for p, at in placed if at == node["metadata"]["name"]] for node in nodes
        }
        self.namespaces = namespaces

    def on(self, node: Obj) -> list[Obj]:
        return self.pods[node["metadata"]["name"]]

    def everywhere(self) -> list[tuple[Obj, Obj]]:
        return [(pod, node) for node in self.nodes for pod in self.on(node)]

    # -- filters: the first reasons against a node

    def why_not(self, pod: Obj, node: Obj) -> set[str]:
        for check in (
            self.unschedulable,
            self.taints,
            self.node_affinity,
            self.ports,
            self.fit,
            self.spread,
            self.interpod,
        ):
            if reasons := check(pod, node):
                return reasons
        return set()

    def unschedulable(self, pod: Obj, node: Obj) -> set[str]:
        taint = {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}
        bad = node["spec"].get("unschedulable") and not any(
            tolerates(t, taint) for t in pod["spec"].get("tolerations") or []
        )
        return {"node(s) were unschedulable"} if bad else set()

    def taints(self, pod: Obj, node: Obj) -> set[str]:
        for taint in node["spec"].get("taints") or []:
            if taint["effect"] == "PreferNoSchedule":
                continue
            if not any(tolerates(t, taint) for t in pod["spec"].get("tolerations") or []):
                return {"node(s) had untolerated taint(s)"}
        return set()

    def node_affinity(self, pod: Obj, node: Obj) -> set[str]:
        spec = pod["spec"]
        ok = all(labels(node).get(k) == v for k, v in (spec.get("nodeSelector") or {}).items())
        required = spec.get("affinity", {}).get("nodeAffinity", {}).get(REQUIRED)
        if required:
            ok = ok and any(term_matches(term, node) for term in required["nodeSelectorTerms"])
        return set() if ok else {"node(s) didn't match Pod's node affinity/selector"}

    def ports(self, pod: Obj, node: Obj) -> set[str]:
        taken = {(p["hostPort"], p["protocol"]) for other in self.on(node) for p in ports_of(other)}
        clash = any((p["hostPort"], p["protocol"]) in taken for p in ports_of(pod))
        return {"node(s) didn't have free ports for the requested pod ports"} if clash else set()

    def fit(self, pod: Obj, node: Obj) -> set[str]:
        found: set[str] = set()
        room = node["status"]["allocatable"]
        if len(self.on(node)) + 1 > int(room["pods"]):
            found.add("Too many pods")
        for resource, wanted in requests(pod).items():
            used = sum(requests(other).get(resource, 0) for other in self.on(node))
            if wanted and wanted > number(resource, room.get(resource, 0)) - used:
                found.add(f"Insufficient {resource}")
        return found

    # -- spreading

    def constraints(self, pod: Obj, action: str) -> list[Obj]:
        return [c for c in pod["spec"].get("topologySpreadConstraints") or [] if c["whenUnsatisfiable"] == action]

    def included(self, constraint: Obj, pod: Obj, node: Obj) -> bool:
        if constraint.get("nodeAffinityPolicy", "Honor") == "Honor" and self.node_affinity(pod, node):
            return False
        return not (constraint.get("nodeTaintsPolicy", "Ignore") == "Honor" and self.taints(pod, node))

    def selected(self, constraint: Obj, pod: Obj, node: Obj) -> int:
        selector = self.selector(constraint, pod)
        if selector.empty:
            return 0
        return sum(
            "deletionTimestamp" not in other["metadata"]
            and other["metadata"]["namespace"] == pod["metadata"]["namespace"]
            and selector.matches(labels(other))
            for other in self.on(node)
        )

    def selector(self, constraint: Obj, pod: Obj) -> Any:
        own = {key: labels(pod)[key] for key in constraint.get("matchLabelKeys") or [] if key in labels(pod)}
        written = constraint["labelSelector"]
        return from_label_selector({**written, "matchLabels": {**(written.get("matchLabels") or {}), **own}})

    def spread(self, pod: Obj, node: Obj) -> set[str]:
        constraints = self.constraints(pod, "DoNotSchedule")
        sums: list[dict[str, int]] = [defaultdict(int) for _ in constraints]
        for other in self.nodes:
            if all(c["topologyKey"] in labels(other) for c in constraints):
                for index, constraint in enumerate(constraints):
                    if self.included(constraint, pod, other):
                        value = labels(other)[constraint["topologyKey"]]
                        sums[index][value] += self.selected(constraint, pod, other)
        uneven = "node(s) didn't match pod topology spread constraints"
        for index, constraint in enumerate(constraints):
            value = labels(node).get(constraint["topologyKey"])
            if value is None:
                return {uneven + " (missing required label)"}
            least = min(sums[index].values(), default=0)
            if len(sums[index]) < (constraint.get("minDomains") or 1):
                least = 0
            own = self.selector(constraint, pod).matches(labels(pod))
            if sums[index].get(value, 0) + own - least > constraint["maxSkew"]:
                return {uneven}
        return set()

    # -- affinity to pods

    def matches(self, term: Obj, owner: Obj, other: Obj) -> bool:
        named, chosen = term.get("namespaces") or [], term.get("namespaceSelector")
        if not named and chosen is None:
            named = [owner["metadata"]["namespace"]]
        space = other["metadata"]["namespace"]
        inside = space in named
        if not inside and chosen is not None:
            inside = from_label_selector(chosen).matches(self.namespaces.get(space, {}))
        return inside and from_label_selector(term.get("labelSelector")).matches(labels(other))

    def interpod(self, pod: Obj, node: Obj) -> set[str]:
        towards = terms(pod, "podAffinity", REQUIRED)
        counts: dict[tuple[str, str], int] = defaultdict(int)
        for other, where in self.everywhere():
            if towards and all(self.matches(term, pod, other) for term in towards):
                for term in towards:
                    if term["topologyKey"] in labels(where):
                        counts[term["topologyKey"], labels(where)[term["topologyKey"]]] += 1
        if towards:
            keys = [term["topologyKey"] for term in towards]
            if any(key not in labels(node) for key in keys):
                return {"node(s) didn't match pod affinity rules"}
            near = all(counts.get((key, labels(node)[key]), 0) > 0 for key in keys)
            first = not counts and all(self.matches(term, pod, pod) for term in towards)
            if not near and not first:
                return {"node(s) didn't match pod affinity rules"}
        for term in terms(pod, "podAntiAffinity", REQUIRED):
            if any(self.matches(term, pod, o) and together(term, node, where) for o, where in self.everywhere()):
                return {"node(s) didn't match pod anti-affinity rules"}
        for other, where in self.everywhere():
            for term in terms(other, "podAntiAffinity", REQUIRED):
                if self.matches(term, other, pod) and together(term, node, where):
                    return {"node(s) didn't satisfy existing pods anti-affinity rules"}
        return set()

    # -- scores

    def scores(self, pod: Obj, feasible: list[Obj]) -> dict[str, int]:
        parts = [
            (3, self.taint_scores(pod, feasible)),
            (2, self.affinity_scores(pod, feasible)),
            (1, [self.least_allocated(pod, node) for node in feasible]),
            (1, [self.balanced(pod, node) for node in feasible]),
            (2, self.spread_scores(pod, feasible)),
            (2, self.interpod_scores(pod, feasible)),
            (1, [self.image_score(pod, node) for node in feasible]),
        ]
        names = [node["metadata"]["name"] for node in feasible]
        return {name: sum(weight * scores[i] for weight, scores in parts) for i, name in enumerate(names)}

    def taint_scores(self, pod: Obj, feasible: list[Obj]) -> list[int]:
        soft = [t for t in pod["spec"].get("tolerations") or [] if t.get("effect") in (None, "", "PreferNoSchedule")]
        raw = [
            sum(
                taint["effect"] == "PreferNoSchedule" and not any(tolerates(t, taint) for t in soft)
                for taint in node["spec"].get("taints") or []
            )
            for node in feasible
        ]
        most = max(raw)
        return [100 - value * 100 // most if most else 100 for value in raw]

    def affinity_scores(self, pod: Obj, feasible: list[Obj]) -> list[int]:
        preferred = pod["spec"].get("affinity", {}).get("nodeAffinity", {}).get(PREFERRED) or []
        raw = [sum(p["weight"] for p in preferred if term_matches(p["preference"], node)) for node in feasible]
        most = max(raw)
        return [value * 100 // most if most else 0 for value in raw]

    def least_allocated(self, pod: Obj, node: Obj) -> int:
        total = parts = 0
        for resource in ("cpu", "memory"):
            room = number(resource, node["status"]["allocatable"].get(resource, 0))
            if not room:
                continue
            asked = sum(guessed(other, resource) for other in [*self.on(node), pod])
            total += 0 if asked > room else (room - asked) * 100 // room
            parts += 1
        return total // parts if parts else 0

    def balanced(self, pod: Obj, node: Obj) -> int:
        if not any(requests(pod).get(resource) for resource in ("cpu", "memory")):
            return 0

        def score(pods: list[Obj]) -> int:
            shares = []
            for resource in ("cpu", "memory"):
                room = number(resource, node["status"]["allocatable"].get(resource, 0))
                if room:
                    shares.append(min(sum(requests(p).get(resource, 0) for p in pods) / room, 1))
            deviation = abs((shares[0] - shares[1]) / 2) if len(shares) == 2 else 0
            return int((1 - deviation) * 100)

        return 50 + int((50 + score([*self.on(node), pod]) - score(self.on(node))) / 2)

    def spread_scores(self, pod: Obj, feasible: list[Obj]) -> list[int]:
        constraints = self.constraints(pod, "ScheduleAnyway")
        if not constraints:
            return [0] * len(feasible)
        keys = [c["topologyKey"] for c in constraints]
        scored = [node for node in feasible if all(key in labels(node) for key in keys)]
        raw: list[int | None] = []
        for node in feasible:
            if node not in scored:
                raw.append(None)
                continue
            score = 0.0
            for constraint in constraints:
                key = constraint["topologyKey"]
                if key == "kubernetes.io/hostname":
                    size, count = len(scored), self.selected(constraint, pod, node)
                else:
                    size = len({labels(other)[key] for other in scored})
                    count = sum(
                        self.selected(constraint, pod, other)
                        for other in self.nodes
                        if all(k in labels(other) for k in keys)
                        and labels(other)[key] == labels(node)[key]
                        and self.included(constraint, pod, other)
                    )
                score += count * math.log(size + 2) + constraint["maxSkew"] - 1
            raw.append(math.floor(score + 0.5))
        known = [value for value in raw if value is not None]
        least, most = min(known, default=0), max(known, default=0)
        return [0 if value is None else 100 if most == 0 else 100 * (most + least - value) // most for value in raw]

    def interpod_scores(self, pod: Obj, feasible: list[Obj]) -> list[int]:
        raw: list[int] = []
        for node in feasible:
            score = 0
            for other, where in self.everywhere():
                for owner, subject in ((pod, other), (other, pod)):
                    for kind, sign in (("podAffinity", 1), ("podAntiAffinity", -1)):
                        for soft in terms(owner, kind, PREFERRED):
                            term = soft["podAffinityTerm"]
                            if self.matches(term, owner, subject) and together(term, node, where):
                                score += sign * soft["weight"]
                for term in terms(other, "podAffinity", REQUIRED):
                    if self.matches(term, other, pod) and together(term, node, where):
                        score += 1
            raw.append(score)
        least, most = min(raw), max(raw)
        return [int(100 * ((value - least) / (most - least))) if most > least else 0 for value in raw]

    def image_score(self, pod: Obj, node: Obj) -> int:
        total = 0
        for container in pod["spec"]["containers"]:
            holders = [n for n in self.nodes if size_of(container["image"], n) is not None]
            size = size_of(container["image"], node)
            if size is not None:
                total += int(size * (len(holders) / len(self.nodes)))
        most = 1000 * MB * len(pod["spec"]["containers"])
        return 100 * (min(max(total, 23 * MB), most) - 23 * MB) // (most - 23 * MB)


def size_of(image: str, node: Obj) -> int | None:
    for held in node["status"].get("images") or []:
        if image + ":latest" in held["names"]:
            return held["sizeBytes"]
    return None


def ports_of(pod: Obj) -> list[Obj]:
    return [port for c in pod["spec"]["containers"] for port in c.get("ports") or [] if port.get("hostPort")]


def requests(pod: Obj) -> dict[str, int]:
    found: dict[str, int] = {}
    for container in pod["spec"]["containers"]:
        for resource, text in (container.get("resources", {}).get("requests") or {}).items():
            found[resource] = found.get(resource, 0) + number(resource, text)
    return found


def guessed(pod: Obj, resource: str) -> int:
    """With what a container counts as that requests none."""
    default = {"cpu": "100m", "memory": "200Mi"}[resource]
    return sum(
        number(resource, (c.get("resources", {}).get("requests") or {}).get(resource, default))
        for c in pod["spec"]["containers"]
    )


def terms(pod: Obj, kind: str, strength: str) -> list[Obj]:
    return pod["spec"].get("affinity", {}).get(kind, {}).get(strength) or []


def together(term: Obj, one: Obj, other: Obj) -> bool:
    key = term["topologyKey"]
    return key in labels(one) and labels(one)[key] == labels(other).get(key)
