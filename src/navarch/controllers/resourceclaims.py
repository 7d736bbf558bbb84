"""Claims for devices: made for pods from templates, reserved for pods that are placed, and freed when those are done.

Two loops over the same caches, one keyed by pod and one by claim. Source: pkg/controller/resourceclaim.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from navarch.client.interface import Client, Resource
from navarch.client.resources import PODS
from navarch.controllers import objects
from navarch.controlloop.plan import Caches, Call, Create, Delete, Emit, Patch, Plan, Report, Update, Watch
from navarch.machinery import errors, trees
from navarch.machinery.errors import StatusError
from navarch.machinery.types import GroupResource, Key, Obj, key_of

CLAIMS = Resource("resource.k8s.io", "v1", "resourceclaims")
TEMPLATES = Resource("resource.k8s.io", "v1", "resourceclaimtemplates")
POD_CLAIM = "resource.kubernetes.io/pod-claim-name"
"""On a claim made for a pod: which of the pod's claims it is."""
FINALIZER = "resource.kubernetes.io/delete-protection"
MAX_RESERVED = 256
MAX_BASE = 57
"""Leaves room for the random end of a generated name."""


# -- questions


def claim_name(pod: Obj, wanted: Obj) -> str | None:
    """The name of the claim behind an entry of a pod's resourceClaims; "" where none is needed, None where none has
    been made yet."""
    if "resourceClaimName" in wanted:
        return wanted["resourceClaimName"]
    for status in (pod.get("status") or {}).get("resourceClaimStatuses") or ():
        if status["name"] == wanted["name"]:
            return status.get("resourceClaimName") or ""
    return None


def is_done(pod: Obj) -> bool:
    """None of its containers run or ever will."""
    return objects.is_terminal(pod) or (objects.is_deleting(pod) and not pod["spec"].get("nodeName"))


def is_for(pod: Obj, claim: Obj) -> bool:
    return objects.controller_uid(claim) == objects.uid_of(pod)


def reserved_for(claim: Obj) -> Sequence[Obj]:
    return (claim.get("status") or {}).get("reservedFor") or ()


def _is_pod(consumer: Obj) -> bool:
    return not consumer.get("apiGroup") and consumer.get("resource") == "pods"


def names_of(pod: Obj) -> set[str]:
    names = {claim_name(pod, wanted) for wanted in pod["spec"].get("resourceClaims") or ()}
    extended = (pod.get("status") or {}).get("extendedResourceClaimStatus")
    if extended:
        names.add(extended.get("resourceClaimName"))
    return {name for name in names if name}


# -- pods


@dataclass(frozen=True, slots=True)
class ObservedPod:
    pod: Obj
    claims: Mapping[str, Obj]
    """Those that it names or that were made for it, by name."""
    templates: Mapping[str, Obj]


class PodClaimsController:
    """Makes the claims of pods, and reserves them for pods that somebody else than the scheduler has placed."""

    name = "resource_claim"

    def __init__(self) -> None:
        self.watches = (
            Watch(PODS, _wakes_pod, {"deviceclaim": _claims_index, "devicetemplate": _templates_index}),
            Watch(CLAIMS, _pods_of_claim, {"owner": lambda claim: (objects.controller_uid(claim),)}),
            Watch(TEMPLATES, _pods_of_template),
        )

    def observe(self, key: Key, caches: Caches) -> ObservedPod | None:
        pod = caches[PODS].get(key.namespace, key.name)
        if pod is None or is_done(pod) or objects.is_deleting(pod):
            return None
        claims = {c["metadata"]["name"]: c for c in caches[CLAIMS].by_index("owner", objects.uid_of(pod))}
        for name in names_of(pod):
            if (claim := caches[CLAIMS].get(key.namespace, name)) is not None:
                claims[name] = claim
        wanted = {e["resourceClaimTemplateName"] for e in pod["spec"]["resourceClaims"] if _templated(e)}
        found = {name: caches[TEMPLATES].get(key.namespace, name) for name in wanted}
        return ObservedPod(pod, claims, {name: t for name, t in found.items() if t is not None})

    def reconcile(self, observed: ObservedPod, now: float) -> Plan:
        plan, made = Plan(), list[Obj]()
        for wanted in observed.pod["spec"]["resourceClaims"]:
            _supply(observed, wanted, plan, made)
        if made:
            patch = {"metadata": {"uid": objects.uid_of(observed.pod)}, "status": {"resourceClaimStatuses": made}}
            plan.actions.append(Patch(PODS, key_of(observed.pod), patch, "strategic", "status"))
        if observed.pod["spec"].get("nodeName"):
            for wanted in observed.pod["spec"]["resourceClaims"]:
                _reserve(observed, wanted, plan)
        return plan


def _templated(wanted: Obj) -> bool:
    return "resourceClaimTemplateName" in wanted


def _supply(observed: ObservedPod, wanted: Obj, plan: Plan, made: list[Obj]) -> None:
    """A claim for an entry of the pod that has none. A claim that was made and not yet recorded is found again."""
    pod, name = observed.pod, claim_name(observed.pod, wanted)
    if not _templated(wanted) or name == "":
        return
    claim = observed.claims.get(name) if name else None
    if claim is not None and is_for(pod, claim):
        return
    for each in sorted(observed.claims.values(), key=lambda c: c["metadata"]["name"]):
        if is_for(pod, each) and objects.annotations_of(each).get(POD_CLAIM) == wanted["name"]:
            made.append({"name": wanted["name"], "resourceClaimName": each["metadata"]["name"]})
            plan.reasons.append(f"claim {each['metadata']['name']} was made for {wanted['name']}")
            return
    template = observed.templates.get(wanted["resourceClaimTemplateName"])
    if template is None:
        why = (
            f'PodResourceClaim {wanted["name"]}: resource claim template "{wanted["resourceClaimTemplateName"]}": '
            f'resourceclaimtemplate.resource.k8s.io "{wanted["resourceClaimTemplateName"]}" not found'
        )
        plan.actions.append(Emit(pod, "Warning", "FailedResourceClaimCreation", why))
        plan.reasons.append(why)
        return
    failed = f"PodResourceClaim {wanted['name']}: create ResourceClaim : {{error}}"
    report = Report(pod, failed=("FailedResourceClaimCreation", failed))
    plan.actions.append(Create(CLAIMS, from_template(pod, wanted["name"], template), report=report))
    plan.reasons.append(f"the claim for {wanted['name']} is missing")


def from_template(pod: Obj, entry: str, template: Obj) -> Obj:
    given, name = template["spec"].get("metadata") or {}, pod["metadata"]["name"]
    base = f"{name}-{entry}-"
    if (length := len(base)) > MAX_BASE:
        base = f"{name[: len(name) * MAX_BASE // length]}-{entry[: len(entry) * MAX_BASE // length]}"
    owner = objects.controller_reference(pod, "v1", "Pod")
    owner.pop("blockOwnerDeletion")
    meta: Obj = {
        "generateName": base,
        "namespace": pod["metadata"]["namespace"],
        "annotations": {**(given.get("annotations") or {}), POD_CLAIM: entry},
        "ownerReferences": [owner],
    }
    if given.get("labels"):
        meta["labels"] = dict(given["labels"])
    return {"metadata": meta, "spec": trees.copy(template["spec"]["spec"])}


def _reserve(observed: ObservedPod, wanted: Obj, plan: Plan) -> None:
    pod, name = observed.pod, claim_name(observed.pod, wanted)
    claim = observed.claims.get(name) if name else None
    if claim is None or (_templated(wanted) and not is_for(pod, claim)):
        return
    consumers = reserved_for(claim)
    if not (claim.get("status") or {}).get("allocation") or len(consumers) >= MAX_RESERVED:
        return
    if any(consumer["uid"] == objects.uid_of(pod) for consumer in consumers):
        return
    ours = {"resource": "pods", "name": pod["metadata"]["name"], "uid": objects.uid_of(pod)}
    status = {**claim["status"], "reservedFor": [*consumers, ours]}
    plan.actions.append(Update(CLAIMS, {**claim, "status": status}, "status"))
    plan.reasons.append(f"claim {name} is to be reserved")


# -- claims


@dataclass(frozen=True, slots=True)
class ObservedClaim:
    claim: Obj
    pods: Mapping[str, Obj]
    """Its consumers and its owner, by name."""
    confirm: Callable[[Sequence[Obj]], Awaitable[None]]
    """Asks the API whether consumers are gone, for a cache may lag behind; raises a conflict where one is not."""


class ResourceClaimController:
    """Takes reservations of pods that are done, and what was allocated when the last one goes."""

    name = "resource_claim_release"

    def __init__(self, client: Client) -> None:
        self._client = client
        self.watches = (
            Watch(CLAIMS, lambda old, new, caches: [key_of(new)] if new is not None else ()),
            Watch(PODS, _claims_of_pod),
        )

    def observe(self, key: Key, caches: Caches) -> ObservedClaim | None:
        claim = caches[CLAIMS].get(key.namespace, key.name)
        if claim is None:
            return None
        names = {consumer["name"] for consumer in reserved_for(claim) if _is_pod(consumer)}
        names.update(owner["name"] for owner in _owners(claim))
        found = {name: caches[PODS].get(key.namespace, name) for name in names}
        pods = {name: pod for name, pod in found.items() if pod is not None}
        return ObservedClaim(claim, pods, lambda consumers: self._confirm_gone(key.namespace, consumers))

    def reconcile(self, observed: ObservedClaim, now: float) -> Plan:
        claim, plan = observed.claim, Plan()
        kept = [consumer for consumer in reserved_for(claim) if not _is_over(consumer, observed)]
        unsure = [c for c in reserved_for(claim) if c not in kept and c["name"] not in observed.pods]
        if unsure:
            plan.actions.append(Call("ask whether the pods are gone", lambda: observed.confirm(unsure)))
        finalizers: list[str] = claim["metadata"].get("finalizers") or []
        if len(kept) < len(reserved_for(claim)) or (
            not kept and FINALIZER in finalizers and objects.is_deleting(claim)
        ):
            _free(claim, kept, finalizers, plan)
        if not kept:
            _delete_unneeded(observed, plan)
        return plan

    async def _confirm_gone(self, namespace: str, consumers: Sequence[Obj]) -> None:
        for consumer in consumers:
            try:
                found = await self._client.get(PODS, consumer["name"], namespace)
            except StatusError as error:
                if error.code != 404:
                    raise
                continue
            if found["metadata"]["uid"] == consumer["uid"]:
                raise errors.conflict(GroupResource("", "pods"), consumer["name"], "the cache lags behind")


def _owners(claim: Obj) -> list[Obj]:
    references = claim["metadata"].get("ownerReferences") or ()
    return [r for r in references if r.get("controller") and (r["apiVersion"], r["kind"]) == ("v1", "Pod")]


def _is_over(consumer: Obj, observed: ObservedClaim) -> bool:
    if not _is_pod(consumer):
        return False
    pod = observed.pods.get(consumer["name"])
    return pod is None or objects.uid_of(pod) != consumer["uid"] or is_done(pod)


def _free(claim: Obj, kept: list[Obj], finalizers: list[str], plan: Plan) -> None:
    """Without consumers the allocation goes too, that the next pod may be placed anew; then the finalizer."""
    status = {k: v for k, v in (claim.get("status") or {}).items() if k != "reservedFor"}
    if kept:
        status["reservedFor"] = kept
    elif FINALIZER in finalizers:
        status.pop("allocation", None)
    made = {**claim, "status": status}
    if status != (claim.get("status") or {}):
        plan.actions.append(Update(CLAIMS, made, "status"))
        plan.reasons.append("consumers are done")
    if FINALIZER in finalizers and "allocation" not in status:
        meta = {**claim["metadata"], "finalizers": [name for name in finalizers if name != FINALIZER]}
        plan.actions.append(Update(CLAIMS, {**made, "metadata": meta}))
        plan.reasons.append("nothing is allocated")


def _delete_unneeded(observed: ObservedClaim, plan: Plan) -> None:
    """A claim made for a pod that is done, or that another has taken the name of. The collector has the rest."""
    claim = observed.claim
    for owner in _owners(claim):
        pod = observed.pods.get(owner["name"])
        if pod is not None and (objects.uid_of(pod) != owner["uid"] or is_done(pod)):
            plan.actions.append(Delete(CLAIMS, key_of(claim), objects.uid_of(claim)))
            plan.reasons.append("its pod is done")


# -- who is to be looked at when something changed


def _claims_index(pod: Obj) -> Iterable[str]:
    return [f"{pod['metadata']['namespace']}/{name}" for name in names_of(pod)]


def _templates_index(pod: Obj) -> Iterable[str]:
    wanted = [w["resourceClaimTemplateName"] for w in pod["spec"].get("resourceClaims") or () if _templated(w)]
    return {f"{pod['metadata']['namespace']}/{name}" for name in wanted}


def _wakes_pod(old: Obj | None, new: Obj | None, caches: Caches) -> Iterable[Key]:
    return [key_of(new)] if new is not None and new["spec"].get("resourceClaims") else ()


def _with_claims(pods: Iterable[Obj]) -> list[Key]:
    return [key_of(pod) for pod in pods if pod["spec"].get("resourceClaims")]


def _pods_of_claim(old: Obj | None, new: Obj | None, caches: Caches) -> Iterable[Key]:
    claim = new or old
    assert claim is not None
    namespace = claim["metadata"]["namespace"]
    keys = _with_claims(caches[PODS].by_index("deviceclaim", f"{namespace}/{claim['metadata']['name']}"))
    return [*keys, *(Key(namespace, owner["name"]) for owner in _owners(claim))]


def _pods_of_template(old: Obj | None, new: Obj | None, caches: Caches) -> Iterable[Key]:
    if new is None:
        return ()
    meta = new["metadata"]
    return _with_claims(caches[PODS].by_index("devicetemplate", f"{meta['namespace']}/{meta['name']}"))


def _claims_of_pod(old: Obj | None, new: Obj | None, caches: Caches) -> Iterable[Key]:
    """The claims of a pod that is done or gone."""
    pods = [pod for pod in (old, new) if pod is not None and (pod is not new or is_done(pod))]
    if new is not None and old is not None and objects.uid_of(new) == objects.uid_of(old) and not is_done(new):
        return ()
    return {Key(pod["metadata"]["namespace"], name) for pod in pods for name in names_of(pod)}
