"""PodSecurity: pods keep to the standard that their namespace's labels name. Source: pod-security-admission admission."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from navarch.api.podsecurity.levels import (
    DEFAULT,
    LEVELS,
    PREFIX,
    Modes,
    Standard,
    details,
    findings,
    modes_of,
    reasons,
)
from navarch.api.podsecurity.reading import Finding
from navarch.apiserver.admission.chain import PODS, BasePlugin, aggregated, refuse
from navarch.apiserver.admission.interface import AdmissionRequest
from navarch.apiserver.watchcache import CacheSet, Entry
from navarch.machinery import errors, trees
from navarch.machinery.errors import FieldErrors
from navarch.machinery.types import GroupKind, GroupResource, Obj

NAMESPACES = GroupResource("", "namespaces")
TEMPLATES: Mapping[GroupResource, tuple[str, ...]] = {
    GroupResource("", "podtemplates"): ("template",),
    GroupResource("", "replicationcontrollers"): ("spec", "template"),
    GroupResource("batch", "cronjobs"): ("spec", "jobTemplate", "spec", "template"),
    GroupResource("batch", "jobs"): ("spec", "template"),
    **{GroupResource("apps", f"{name}s"): ("spec", "template") for name in ("daemonset", "deployment")},
    **{GroupResource("apps", f"{name}s"): ("spec", "template") for name in ("replicaset", "statefulset")},
}
"""Where the kinds that make pods keep their template."""
IGNORED = frozenset(("exec", "attach", "binding", "eviction", "log", "portforward", "proxy", "status"))
ENFORCED = f"{PREFIX}enforce-policy"
UNLIMITED = str(Standard(LEVELS[0]))
REMEMBERED = 10_000
MAX_PODS = 3000
"""How many pods of a namespace are looked at when its labels change."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exemptions:
    namespaces: frozenset[str] = frozenset()
    usernames: frozenset[str] = frozenset()
    runtime_classes: frozenset[str] = frozenset()


class PodSecurity(BasePlugin):
    name = "PodSecurity"

    def __init__(self, caches: CacheSet, defaults: Modes = DEFAULT, exempt: Exemptions = Exemptions()) -> None:
        self._namespaces, self._pods = caches[NAMESPACES], caches[PODS]
        self._defaults, self._exempt = defaults, exempt
        self._known: dict[str, tuple[Entry, Modes, FieldErrors]] = {}
        """What namespaces ask for, as of a revision of each."""

    def concerns(self, request: AdmissionRequest) -> bool:
        if request.operation not in ("CREATE", "UPDATE"):
            return False
        if request.resource == PODS:
            return request.subresource not in IGNORED
        return not request.subresource and (request.resource == NAMESPACES or request.resource in TEMPLATES)

    async def validate(self, request: AdmissionRequest) -> None:
        if request.resource == NAMESPACES:
            self._namespace(request)
            return
        if request.namespace in self._exempt.namespaces:
            request.annotate(f"{PREFIX}exempt", "namespace")
            return
        if request.user.name in self._exempt.usernames:
            request.annotate(f"{PREFIX}exempt", "user")
            return
        modes, errs = self._modes(request.namespace)
        if request.resource == PODS:
            self._pod(request, modes, errs)
        else:
            self._template(request, modes, errs)

    def _modes(self, namespace: str) -> tuple[Modes, FieldErrors]:
        entry = self._namespaces.get("", namespace)
        if entry is None:
            raise errors.internal(f'failed to lookup namespace "{namespace}"')
        known = self._known.get(namespace)
        if known is None or known[0] is not entry:
            if len(self._known) >= REMEMBERED:
                self._known.clear()
            known = self._known[namespace] = (entry, *modes_of(entry.labels, self._defaults))
        return known[1], known[2]

    def _pod(self, request: AdmissionRequest, modes: Modes, errs: FieldErrors) -> None:
        pod = request.object
        assert pod is not None
        if not errs and modes.is_privileged:
            request.annotate(ENFORCED, UNLIMITED)
        elif request.old is None or _changes_images(pod["spec"], request.old["spec"]):
            self._judge(request, modes, errs, pod, True)

    def _template(self, request: AdmissionRequest, modes: Modes, errs: FieldErrors) -> None:
        assert request.object is not None
        if not errs and modes.warn.level == modes.audit.level == LEVELS[0]:
            return
        template = trees.get(request.object, *TEMPLATES[request.resource])
        if template is not None:
            self._judge(request, modes, errs, template, False)

    def _judge(self, request: AdmissionRequest, modes: Modes, errs: FieldErrors, pod: Obj, enforce: bool) -> None:
        """Raises 403. `pod` is a pod or a template of pods."""
        metadata, spec = pod.get("metadata") or {}, pod.get("spec") or {}
        if spec.get("runtimeClassName") in self._exempt.runtime_classes:
            request.annotate(f"{PREFIX}exempt", "runtimeClass")
            return
        if errs:
            request.annotate(f"{PREFIX}error", f"Failed to parse policy: {aggregated(map(str, errs.items))}")
        known: dict[Standard, list[Finding]] = {}

        def judged(standard: Standard) -> list[Finding]:
            if standard not in known:
                known[standard] = findings(standard, metadata, spec)
            return known[standard]

        if enforce:
            request.annotate(ENFORCED, str(modes.enforce))
        if found := judged(modes.audit):
            text = f'would violate PodSecurity "{modes.audit}": {details(found)}'
            request.annotate(f"{PREFIX}audit-violations", text)
        if enforce and (found := judged(modes.enforce)):
            raise refuse(request, f'violates PodSecurity "{modes.enforce}": {details(found)}')
        if found := judged(modes.warn):
            request.warnings.append(f'would violate PodSecurity "{modes.warn}": {details(found)}')

    # -- namespaces

    def _namespace(self, request: AdmissionRequest) -> None:
        namespace = request.object
        assert namespace is not None
        labels = namespace["metadata"].get("labels") or {}
        modes, errs = modes_of(labels, self._defaults)
        if request.old is None:
            if errs:
                raise errors.invalid(GroupKind("", "Namespace"), request.name, errs)
            self._warn_of_exemption(request, modes, labels)
            return
        before, old_errs = modes_of(request.old["metadata"].get("labels") or {}, self._defaults)
        if errs and errs.items != old_errs.items:
            raise errors.invalid(GroupKind("", "Namespace"), request.name, errs)
        new, old = modes.enforce, before.enforce
        if new == old or new.level == LEVELS[0] or (new.minor == old.minor and new.strictness <= old.strictness):
            return
        if request.namespace in self._exempt.namespaces:
            self._warn_of_exemption(request, modes, labels)
        else:
            request.warnings.extend(self._violations(request.namespace, new))

    def _warn_of_exemption(self, request: AdmissionRequest, modes: Modes, labels: Mapping[str, str]) -> None:
        if request.namespace not in self._exempt.namespaces or modes.is_privileged or modes.same(self._defaults):
            return
        shown = ", ".join(
            f"{mode}={standard}"
            for mode, standard in modes._asdict().items()
            if standard.level != LEVELS[0] and (PREFIX + mode in labels or f"{PREFIX}{mode}-version" in labels)
        )
        request.warnings.append(
            f'namespace "{request.namespace}" is exempt from Pod Security, and the policy ({shown}) will be ignored'
        )

    def _violations(self, namespace: str, standard: Standard) -> list[str]:
        """Warnings of pods that are there and would not be let in any more; of a controller's pods one comes first."""
        pods = self._by_controller([entry.obj for entry in self._pods.range(namespace)])
        checked = pods[:MAX_PODS]
        bad: dict[str, list[str]] = {}
        for pod in checked:
            if found := findings(standard, pod["metadata"], pod["spec"]):
                bad.setdefault(reasons(found), []).append(pod["metadata"]["name"])
        warnings: list[str] = []
        if len(checked) < len(pods):
            warnings.append(
                f"new PodSecurity enforce level only checked against the first {len(checked)} of {len(pods)} existing pods"
            )
        if bad:
            warnings.append(
                f'existing pods in namespace "{namespace}" violate the new PodSecurity enforce level "{standard}"'
            )
        return warnings + sorted(_with_names(why, names) for why, names in bad.items())

    def _by_controller(self, pods: list[Obj]) -> list[Obj]:
        first: list[Obj] = []
        others: list[Obj] = []
        seen: set[str] = set()
        for pod in pods:
            if pod["spec"].get("runtimeClassName") in self._exempt.runtime_classes:
                continue
            owner = next((o for o in pod["metadata"].get("ownerReferences") or () if o.get("controller")), None)
            if owner is not None and owner.get("uid") in seen:
                others.append(pod)
                continue
            first.append(pod)
            if owner is not None:
                seen.add(owner.get("uid", ""))
        return first + others


def _with_names(why: str, names: list[str]) -> str:
    more = len(names) - 1
    others = f" (and {more} other pod{'s' if more > 1 else ''})" if more else ""
    return f"{min(names)}{others}: {why}"


def _changes_images(new: Obj, old: Obj) -> bool:
    """Whether an update changes what the standards look at."""
    for field in ("containers", "initContainers"):
        images = [[c.get("image") for c in spec.get(field) or ()] for spec in (new, old)]
        if images[0] != images[1]:
            return True
    before = {c["name"]: c.get("image") for c in old.get("ephemeralContainers") or ()}
    return any(
        c["name"] not in before or before[c["name"]] != c.get("image") for c in new.get("ephemeralContainers") or ()
    )
