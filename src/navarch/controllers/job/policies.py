"""What a Job's policies say of a failed pod and of the indexes that have succeeded. Pure.

Source of the rules: upstream's pod_failure_policy.go and success_policy.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from navarch.controllers.job.intervals import Intervals
from navarch.machinery.types import Obj, key_of


class Verdict(NamedTuple):
    action: str = ""
    """Ignore, Count, FailIndex or FailJob; "" where no rule speaks of the pod."""
    why: str = ""
    """Of FailJob."""

    @property
    def counts(self) -> bool:
        """Whether the failure counts against the back-off limits."""
        return self.action != "Ignore"


def judge(policy: Obj | None, pod: Obj) -> Verdict:
    """The verdict of the first rule that matches a failed pod."""
    status = pod.get("status") or {}
    for index, rule in enumerate((policy or {}).get("rules") or ()):
        action = rule["action"]
        if (codes := rule.get("onExitCodes")) is not None:
            container = _exited(status, codes)
            if container is not None:
                name, code = container["name"], container["state"]["terminated"]["exitCode"]
                why = f"Container {name} for pod {key_of(pod)} failed with exit code {code} matching {action} rule at index {index}"
                return Verdict(action, why)
        elif (kind := _condition(status, rule.get("onPodConditions") or ())) is not None:
            return Verdict(action, f"Pod {key_of(pod)} has condition {kind} matching {action} rule at index {index}")
    return Verdict()


def _exited(status: Obj, codes: Obj) -> Obj | None:
    """The first container that ended with such a code."""
    name, values = codes.get("containerName"), codes.get("values") or ()
    for field in ("containerStatuses", "initContainerStatuses"):
        for container in status.get(field) or ():
            ended = (container.get("state") or {}).get("terminated")
            code = 0 if ended is None else ended.get("exitCode", 0)
            if code and name in (None, container["name"]) and (code in values) == (codes["operator"] == "In"):
                return container
    return None


def _condition(status: Obj, patterns: Iterable[Mapping[str, str]]) -> str | None:
    wanted = {(pattern["type"], pattern.get("status", "True")) for pattern in patterns}
    return next((c["type"] for c in status.get("conditions") or () if (c["type"], c["status"]) in wanted), None)


def success(policy: Obj | None, completions: int, succeeded: Intervals) -> str | None:
    """Why the job has succeeded early; None where no rule says so."""
    if not succeeded.spans:
        return None
    for index, rule in enumerate((policy or {}).get("rules") or ()):
        count, listed = rule.get("succeededCount"), rule.get("succeededIndexes")
        if listed is None:
            met = count is not None and succeeded.total() >= count
        else:
            required = Intervals.parse(listed, completions)
            common = required.common(succeeded)
            met = bool(required.spans) and (common == required.total() or (count is not None and common >= count))
        if met:
            return f"Matched rules at index {index}"
    return None
