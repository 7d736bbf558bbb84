"""On which nodes a DaemonSet's pods belong, and the pods that are made for them. Pure.

Source of the rules: upstream's pkg/controller/daemon and its util.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from navarch.api.podspec.placement import required_terms, selects, tolerates
from navarch.controllers import objects
from navarch.controllers.history import POD_HASH
from navarch.controllers.replicaset import pod_from_template
from navarch.machinery import trees
from navarch.machinery.types import Obj

GENERATION = "deprecated.daemonset.template.generation"
POD_GENERATION = "pod-template-generation"
NODE_NAME = "metadata.name"
_SURVIVED = (
    ("node.kubernetes.io/not-ready", "NoExecute"),
    ("node.kubernetes.io/unreachable", "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    ("node.kubernetes.io/unschedulable", "NoSchedule"),
)
_NO_NETWORK = ("node.kubernetes.io/network-unavailable", "NoSchedule")
"""Only pods of the host's network do without."""


def tolerations_of(spec: Obj) -> list[Obj]:
    """A pod spec's tolerations, and those that every daemon has."""
    made: list[Obj] = list(spec.get("tolerations") or ())
    for key, effect in (*_SURVIVED, *((_NO_NETWORK,) if spec.get("hostNetwork") else ())):
        wanted = {"key": key, "operator": "Exists", "effect": effect}
        same = (
            i for i, t in enumerate(made) if {**t, "tolerationSeconds": None} == {**wanted, "tolerationSeconds": None}
        )
        if (index := next(same, None)) is None:
            made.append(wanted)
        else:
            made[index] = wanted
    return made


class Fit(NamedTuple):
    """What decides whether a node is one of the set's."""

    node_name: str
    selector: Mapping[str, str]
    terms: list[Obj] | None
    tolerations: Sequence[Obj]

    def on(self, node: Obj) -> tuple[bool, bool]:
        """(whether a pod should be started there, whether one that is there may stay)."""
        if self.node_name not in ("", node["metadata"]["name"]) or not selects(self.selector, self.terms, node):
            return False, False
        refused = [
            taint["effect"]
            for taint in (node.get("spec") or {}).get("taints") or ()
            if taint["effect"] in ("NoSchedule", "NoExecute")
            and not any(tolerates(toleration, taint) for toleration in self.tolerations)
        ]
        return not refused, "NoExecute" not in refused


def fit_of(daemon_set: Obj) -> Fit:
    spec = daemon_set["spec"]["template"].get("spec") or {}
    return Fit(spec.get("nodeName") or "", spec.get("nodeSelector") or {}, required_terms(spec), tolerations_of(spec))


# -- pods


def new_pod(daemon_set: Obj, node: str, hashed: str) -> Obj:
    """The pod for a node: its affinity leaves the scheduler no other."""
    pod = pod_from_template(daemon_set, daemon_set["spec"]["template"], "apps/v1", "DaemonSet")
    labels = pod["metadata"].setdefault("labels", {})
    if (generation := template_generation(daemon_set)) is not None:
        labels[POD_GENERATION] = generation
    labels[POD_HASH] = hashed
    spec = pod["spec"]
    spec["tolerations"] = tolerations_of(spec)
    affinity = trees.copy(spec.get("affinity") or {})
    required = affinity.setdefault("nodeAffinity", {}).setdefault("requiredDuringSchedulingIgnoredDuringExecution", {})
    field = {"key": NODE_NAME, "operator": "In", "values": [node]}
    required["nodeSelectorTerms"] = [{"matchFields": [field]}]
    spec["affinity"] = affinity
    return pod


def template_generation(daemon_set: Obj) -> str | None:
    text = objects.annotations_of(daemon_set).get(GENERATION, "")
    return text if text.isdecimal() else None


def target_node(pod: Obj) -> str:
    """The node a daemon pod is on or was made for; "" where nobody can tell."""
    if name := pod["spec"].get("nodeName"):
        return name
    for term in required_terms(pod["spec"]) or ():
        for field in term.get("matchFields") or ():
            if field["key"] == NODE_NAME and field["operator"] == "In":
                values = field.get("values") or ()
                return values[0] if len(values) == 1 else ""
    return ""


def is_updated(daemon_set: Obj, pod: Obj, hashed: str) -> bool:
    """Whether a pod is of the newest template."""
    labels = objects.labels_of(pod)
    generation = template_generation(daemon_set)
    return labels.get(POD_HASH) == hashed or (generation is not None and labels.get(POD_GENERATION) == generation)


def oldest_first(pods: Sequence[Obj]) -> list[Obj]:
    """Those on their node first, then by age."""
    return sorted(pods, key=lambda p: (not p["spec"].get("nodeName"), objects.created_at(p), p["metadata"]["name"]))
