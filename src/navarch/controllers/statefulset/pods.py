"""A StatefulSet's pods: their names, identities, storage and revisions. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from navarch.controllers import objects
from navarch.controllers.replicaset import pod_from_template
from navarch.machinery.types import Obj

REVISION = "controller-revision-hash"
POD_NAME, POD_INDEX = "statefulset.kubernetes.io/pod-name", "apps.kubernetes.io/pod-index"
_NAME = re.compile(r"(.*)-([0-9]+)", re.ASCII | re.DOTALL)


def parent_and_ordinal(pod: Obj) -> tuple[str, int]:
    """("", -1) where the name is no such name."""
    match = _NAME.fullmatch(pod["metadata"]["name"])
    return (match[1], int(match[2])) if match and len(match[2]) < 10 else ("", -1)


def ordinal_of(pod: Obj) -> int:
    return parent_and_ordinal(pod)[1]


def is_member(stateful_set: Obj, pod: Obj) -> bool:
    return parent_and_ordinal(pod)[0] == stateful_set["metadata"]["name"]


def start_of(stateful_set: Obj) -> int:
    return (stateful_set["spec"].get("ordinals") or {}).get("start", 0)


def replicas_of(stateful_set: Obj) -> int:
    return int(stateful_set["spec"].get("replicas", 1))


def in_range(stateful_set: Obj, pod: Obj) -> bool:
    first = start_of(stateful_set)
    return first <= ordinal_of(pod) < first + replicas_of(stateful_set)


def revision_of(pod: Obj) -> str:
    return objects.labels_of(pod).get(REVISION, "")


def pod_name(stateful_set: Obj, ordinal: int) -> str:
    return f"{stateful_set['metadata']['name']}-{ordinal}"


def claim_name(stateful_set: Obj, template: Obj, ordinal: int) -> str:
    return f"{template['metadata']['name']}-{stateful_set['metadata']['name']}-{ordinal}"


def new_pod(stateful_set: Obj, revision: str, ordinal: int) -> Obj:
    """The pod of an ordinal, from the template in `stateful_set`."""
    pod = pod_from_template(stateful_set, stateful_set["spec"].get("template") or {}, "apps/v1", "StatefulSet")
    pod["metadata"]["name"] = pod_name(stateful_set, ordinal)
    identified = with_identity(stateful_set, pod, ordinal)
    identified["metadata"]["labels"][REVISION] = revision
    identified["spec"]["hostname"] = identified["metadata"]["name"]
    identified["spec"]["subdomain"] = stateful_set["spec"].get("serviceName", "")
    return identified


def with_identity(stateful_set: Obj, pod: Obj, ordinal: int) -> Obj:
    """The pod with the labels and volumes that its ordinal asks for."""
    meta, spec = pod["metadata"], pod["spec"]
    labels = {**objects.labels_of(pod), POD_NAME: meta["name"], POD_INDEX: str(ordinal)}
    claimed: dict[str, Any] = {
        template["metadata"]["name"]: {
            "name": template["metadata"]["name"],
            "persistentVolumeClaim": {"claimName": claim_name(stateful_set, template, ordinal), "readOnly": False},
        }
        for template in stateful_set["spec"].get("volumeClaimTemplates") or ()
    }
    kept = [volume for volume in spec.get("volumes") or () if volume["name"] not in claimed]
    made = {**pod, "metadata": {**meta, "labels": labels}, "spec": {**spec}}
    if claimed or kept:
        made["spec"]["volumes"] = [*claimed.values(), *kept]
    return made


def identity_matches(stateful_set: Obj, pod: Obj) -> bool:
    labels = objects.labels_of(pod)
    return labels.get(POD_NAME) == pod["metadata"]["name"] and labels.get(POD_INDEX) == str(ordinal_of(pod))


def storage_matches(stateful_set: Obj, pod: Obj) -> bool:
    claims = {
        volume["name"]: (volume.get("persistentVolumeClaim") or {}).get("claimName")
        for volume in pod["spec"].get("volumes") or ()
    }
    ordinal = ordinal_of(pod)
    return all(
        claims.get(template["metadata"]["name"]) == claim_name(stateful_set, template, ordinal)
        for template in stateful_set["spec"].get("volumeClaimTemplates") or ()
    )


# -- how a pod is


def is_running_and_ready(pod: Obj) -> bool:
    return objects.phase_of(pod) == "Running" and objects.is_ready(pod)


def is_available(pod: Obj, min_ready_seconds: int, now: float) -> bool:
    return is_running_and_ready(pod) and objects.available_in(pod, min_ready_seconds, now) == 0


def is_unavailable(pod: Obj | None, min_ready_seconds: int, now: float) -> bool:
    """Missing, being deleted, or not (yet) available."""
    return pod is None or objects.is_deleting(pod) or not is_available(pod, min_ready_seconds, now)


def next_available(pods: Iterable[Obj | None], min_ready_seconds: int, now: float) -> float | None:
    """Seconds until another pod counts as available."""
    waits = [w for pod in pods if pod is not None and (w := objects.available_in(pod, min_ready_seconds, now))]
    return min(waits, default=None)
