"""The volume claims of a StatefulSet's pods: made before the pod, and owned as the retention policy says. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from navarch.client.resources import PERSISTENT_VOLUME_CLAIMS
from navarch.controllers import objects
from navarch.controllers.statefulset import pods as pod_rules
from navarch.controlloop.plan import Create, Report, Update
from navarch.machinery import trees
from navarch.machinery.types import Obj

SET, POD = ("apps/v1", "StatefulSet"), ("v1", "Pod")


def claims_of(stateful_set: Obj, ordinal: int) -> list[Obj]:
    """The claims that the pod of an ordinal uses."""
    made: list[Obj] = []
    for template in stateful_set["spec"].get("volumeClaimTemplates") or ():
        claim: Obj = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", **trees.copy(template)}
        selected = (stateful_set["spec"].get("selector") or {}).get("matchLabels") or {}
        meta = {k: v for k, v in claim["metadata"].items() if k in ("annotations", "finalizers")}
        meta["name"] = pod_rules.claim_name(stateful_set, template, ordinal)
        meta["namespace"] = stateful_set["metadata"]["namespace"]
        meta["labels"] = {**objects.labels_of(template), **selected}
        claim["metadata"] = meta
        claim.pop("status", None)
        made.append(claim)
    return made


def missing(stateful_set: Obj, pod: Obj, existing: Mapping[str, Obj]) -> list[Create]:
    """The creations of claims that the pod needs and nobody has made."""
    name = stateful_set["metadata"]["name"]
    return [
        Create(
            PERSISTENT_VOLUME_CLAIMS,
            claim,
            exists_ok=True,
            report=Report(
                stateful_set,
                (
                    "SuccessfulCreate",
                    f"Create Claim {claim['metadata']['name']} Pod {pod['metadata']['name']} in StatefulSet {name} success",
                ),
                (
                    "FailedCreate",
                    f"Create Claim {claim['metadata']['name']} for Pod {pod['metadata']['name']} in StatefulSet {name} "
                    "failed error: {error}",
                ),
            ),
        )
        for claim in claims_of(stateful_set, pod_rules.ordinal_of(pod))
        if claim["metadata"]["name"] not in existing
    ]


def stale(stateful_set: Obj, pod: Obj, existing: Mapping[str, Obj]) -> bool:
    """Whether a claim of the pod is on its way out with an earlier pod of that name: the new one must wait."""
    policy = stateful_set["spec"].get("persistentVolumeClaimRetentionPolicy") or {}
    if policy.get("whenScaled", "Retain") == "Retain":
        return False
    own = [existing.get(c["metadata"]["name"]) for c in claims_of(stateful_set, pod_rules.ordinal_of(pod))]
    uid = objects.uid_of(pod)
    return any(
        claim is not None and any(_refers(ref, POD, pod) and ref["uid"] != uid for ref in _references(claim))
        for claim in own
    )


def owners(stateful_set: Obj, pod: Obj, existing: Mapping[str, Obj]) -> list[Update]:
    """The changes of ownership that the retention policy asks for."""
    changed: list[Update] = []
    for wanted in claims_of(stateful_set, pod_rules.ordinal_of(pod)):
        claim = existing.get(wanted["metadata"]["name"])
        if claim is None:
            continue
        references = _owned(stateful_set, pod, claim)
        if references != _references(claim):
            owned = {**claim, "metadata": {**claim["metadata"], "ownerReferences": references}}
            changed.append(Update(PERSISTENT_VOLUME_CLAIMS, owned))
    return changed


def _references(obj: Obj) -> list[Obj]:
    return list(obj["metadata"].get("ownerReferences") or ())


def _refers(reference: Obj, kind: tuple[str, str], obj: Obj) -> bool:
    return (reference["apiVersion"], reference["kind"]) == kind and reference["name"] == obj["metadata"]["name"]


def _owned(stateful_set: Obj, pod: Obj, claim: Obj) -> list[Obj]:
    """The claim's owner references as they should be; unchanged where another generation of owners has it."""
    references = _references(claim)
    ours = ((SET, stateful_set), (POD, pod))
    for kind, obj in ours:
        if any(_refers(ref, kind, obj) and ref["uid"] != objects.uid_of(obj) for ref in references):
            return references
    kept = [ref for ref in references if not any(_refers(ref, kind, obj) for kind, obj in ours)]
    policy = stateful_set["spec"].get("persistentVolumeClaimRetentionPolicy") or {}
    scaled, deleted = policy.get("whenScaled", "Retain"), policy.get("whenDeleted", "Retain")
    if (scaled, deleted) != ("Retain", "Retain") and any(ref.get("controller") for ref in kept):
        return kept
    down = not pod_rules.in_range(stateful_set, pod)
    if deleted == "Delete" and not (scaled == "Delete" and down):
        kept.append(objects.controller_reference(stateful_set, *SET))
    if scaled == "Delete" and down and objects.uid_of(pod):
        kept.append(objects.controller_reference(pod, *POD))
    return kept


def by_name(claims: Iterable[Obj]) -> dict[str, Obj]:
    return {claim["metadata"]["name"]: claim for claim in claims}
