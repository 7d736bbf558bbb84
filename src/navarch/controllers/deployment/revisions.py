"""Which ReplicaSet is the new one, what it is called, and the revisions that `kubectl rollout` shows."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import orjson

from navarch.client.resources import DEPLOYMENTS
from navarch.controllers import objects
from navarch.controllers.deployment import numbers
from navarch.machinery import trees
from navarch.machinery.clock import safe_encoded
from navarch.machinery.types import Obj

HASH_LABEL = "pod-template-hash"
REVISION = "deployment.kubernetes.io/revision"
HISTORY = "deployment.kubernetes.io/revision-history"
HISTORY_MAX = 2000
"""Characters of the history annotation."""
NAME_MAX = 253
NOT_COPIED = {
    "kubectl.kubernetes.io/last-applied-configuration",
    REVISION,
    HISTORY,
    numbers.DESIRED,
    numbers.MAXIMUM,
    "deprecated.deployment.rollback.to",
}


def bare_template(template: Obj) -> Obj:
    """A template without what the controller puts into it, for comparing."""
    meta = {k: v for k, v in (template.get("metadata") or {}).items() if v}
    labels = {k: v for k, v in (meta.get("labels") or {}).items() if k != HASH_LABEL}
    return {"metadata": {**meta, "labels": labels}, "spec": template.get("spec")}


def template_hash(deployment: Obj) -> str:
    """The value of the pod-template-hash label: safe characters, the same for the same template and collision count."""
    template = bare_template(deployment["spec"]["template"])
    digest = hashlib.blake2b(orjson.dumps(template, option=orjson.OPT_SORT_KEYS), digest_size=4)
    collisions = (deployment.get("status") or {}).get("collisionCount")
    if collisions is not None:
        digest.update(str(collisions).encode())
    number = str(int.from_bytes(digest.digest(), "big"))
    return safe_encoded(number)


def set_name(deployment: Obj, hashed: str) -> str:
    return f"{deployment['metadata']['name'][: NAME_MAX - len(hashed) - 1]}-{hashed}"


def find_new(deployment: Obj, sets: Sequence[Obj]) -> Obj | None:
    """The set whose template is the Deployment's (the oldest, should there be several)."""
    wanted = bare_template(deployment["spec"]["template"])
    for replica_set in sorted(sets, key=numbers.by_creation):
        if bare_template(replica_set["spec"].get("template") or {}) == wanted:
            return replica_set
    return None


def revision_of(obj: Obj) -> int:
    """0 where there is none, or it is no number."""
    try:
        return int(objects.annotations_of(obj).get(REVISION, "0"))
    except ValueError:
        return 0


def max_revision(sets: Sequence[Obj]) -> int:
    return max(map(revision_of, sets), default=0)


def set_annotations(deployment: Obj, annotations: dict[str, str], revision: int) -> dict[str, str]:
    """The new set's annotations: the Deployment's own, its revision (never lowered), and the revisions it had."""
    copied = {k: v for k, v in objects.annotations_of(deployment).items() if k not in NOT_COPIED}
    made = {**annotations, **copied}
    old = annotations.get(REVISION)
    if old and not old.lstrip("-").isdecimal():
        return made
    if int(old or 0) < revision:
        made[REVISION] = str(revision)
        if old is not None:
            made[HISTORY] = _history(annotations.get(HISTORY, ""), old)
    return made


def _history(history: str, revision: str) -> str:
    revisions = [*(history.split(",") if history else ()), revision]
    while len(revisions) > 1 and len(",".join(revisions)) > HISTORY_MAX:
        revisions.pop(0)
    return ",".join(revisions)


def replica_annotations(deployment: Obj) -> dict[str, str]:
    wanted = numbers.replicas_of(deployment)
    return {numbers.DESIRED: str(wanted), numbers.MAXIMUM: str(wanted + numbers.max_surge(deployment))}


def new_set(deployment: Obj, old: Sequence[Obj]) -> Obj:
    """The ReplicaSet to create for the Deployment's template."""
    hashed = template_hash(deployment)
    spec, meta = deployment["spec"], deployment["metadata"]
    template = trees.copy(spec["template"])
    labels = {**((template.get("metadata") or {}).get("labels") or {}), HASH_LABEL: hashed}
    template["metadata"] = {**(template.get("metadata") or {}), "labels": labels}
    selector = trees.copy(spec["selector"])
    selector["matchLabels"] = {**(selector.get("matchLabels") or {}), HASH_LABEL: hashed}
    annotations = set_annotations(deployment, {}, max_revision(old) + 1)
    made: Obj = {
        "replicas": numbers.new_set_replicas(deployment, numbers.total(old), 0),
        "selector": selector,
        "template": template,
    }
    if spec.get("minReadySeconds"):
        made["minReadySeconds"] = spec["minReadySeconds"]
    return {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {
            "name": set_name(deployment, hashed),
            "namespace": meta["namespace"],
            "labels": dict(labels),
            "annotations": {**annotations, **replica_annotations(deployment)},
            "ownerReferences": [objects.controller_reference(deployment, DEPLOYMENTS.api_version, "Deployment")],
        },
        "spec": made,
    }
