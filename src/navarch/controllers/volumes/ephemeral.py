"""Claims for generic ephemeral volumes: made with the pod, and gone with it. Source: pkg/controller/volume/ephemeral."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from navarch.client.resources import PERSISTENT_VOLUME_CLAIMS, PODS
from navarch.controllers import objects
from navarch.controllers.protection import claim_index
from navarch.controlloop.plan import Action, Caches, Create, Emit, Plan, Report, Watch
from navarch.machinery import trees
from navarch.machinery.types import Key, Obj, key_of


def claim_name(pod: Obj, volume: Obj) -> str:
    return f"{pod['metadata']['name']}-{volume['name']}"


def has_ephemeral(pod: Obj) -> bool:
    return any(volume.get("ephemeral") for volume in pod["spec"].get("volumes") or ())


@dataclass(frozen=True, slots=True)
class Observed:
    pod: Obj
    claims: Mapping[str, Obj]
    """Those there are, by name."""


class EphemeralVolumeController:
    name = "ephemeral_volume"

    def __init__(self) -> None:
        self.watches = (
            Watch(PODS, _added, {"claim": claim_index}),
            Watch(PERSISTENT_VOLUME_CLAIMS, _claim_gone),
        )

    def observe(self, key: Key, caches: Caches) -> Observed | None:
        pod = caches[PODS].get(key.namespace, key.name)
        if pod is None or objects.is_deleting(pod):
            return None
        listed = caches[PERSISTENT_VOLUME_CLAIMS]
        names = [claim_name(pod, v) for v in pod["spec"].get("volumes") or () if v.get("ephemeral")]
        found = {name: listed.get(key.namespace, name) for name in names}
        return Observed(pod, {name: claim for name, claim in found.items() if claim is not None})

    def reconcile(self, observed: Observed, now: float) -> Plan:
        pod, actions, reasons = observed.pod, list[Action](), list[str]()
        for volume in pod["spec"].get("volumes") or ():
            if not volume.get("ephemeral"):
                continue
            name = claim_name(pod, volume)
            claim = observed.claims.get(name)
            if claim is None:
                actions.append(_creation(pod, volume, name))
                reasons.append(f"claim {name} is missing")
            elif objects.controller_uid(claim) != objects.uid_of(pod):
                meta = pod["metadata"]
                why = (
                    f"PVC {meta['namespace']}/{name} was not created for pod {meta['namespace']}/{meta['name']} "
                    "(pod is not owner)"
                )
                actions.append(Emit(pod, "Warning", "FailedBinding", f"ephemeral volume {volume['name']}: {why}"))
                reasons.append(why)
        return Plan(actions, reasons=reasons or ["its claims are there"])


def _creation(pod: Obj, volume: Obj, name: str) -> Create:
    template: Obj = volume["ephemeral"]["volumeClaimTemplate"]
    given = template.get("metadata") or {}
    meta = {k: dict(given[k]) for k in ("annotations", "labels") if given.get(k)}
    meta |= {
        "name": name,
        "namespace": pod["metadata"]["namespace"],
        "ownerReferences": [objects.controller_reference(pod, "v1", "Pod")],
    }
    failed = ("FailedBinding", f"ephemeral volume {volume['name']}: create PVC {name}: {{error}}")
    claim = {"metadata": meta, "spec": trees.copy(template["spec"])}
    return Create(PERSISTENT_VOLUME_CLAIMS, claim, report=Report(pod, failed=failed))


def _added(old: Obj | None, new: Obj | None, caches: Caches) -> Iterable[Key]:
    """A pod's volumes never change: only its coming counts."""
    return [key_of(new)] if old is None and new is not None and has_ephemeral(new) else ()


def _claim_gone(old: Obj | None, new: Obj | None, caches: Caches) -> Iterable[Key]:
    if old is None or new is not None:
        return ()
    meta = old["metadata"]
    pods = caches[PODS].by_index("claim", f"{meta['namespace']}/{meta['name']}")
    return [key_of(pod) for pod in pods if has_ephemeral(pod)]
