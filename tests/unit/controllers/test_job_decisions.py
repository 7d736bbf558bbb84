"""What a Job decides, by table: indexes, policies, back-off, which pods go, what a new pod carries, and when it all ends."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from navarch.controllers.job import ending, managing
from navarch.controllers.job import pods as rules
from navarch.controllers.job.backoff import Failures, index_wait
from navarch.controllers.job.controller import JobController, Observed
from navarch.controllers.job.intervals import Intervals
from navarch.controllers.job.policies import judge, success
from navarch.controlloop.plan import Create, Delete, Patch
from navarch.machinery.clock import rfc3339
from navarch.machinery.types import Obj

NOW = 1_700_000_000.0
LABELS = {"a": "b"}


def job(**spec: Any) -> Obj:
    template = {"metadata": {"labels": LABELS}, "spec": {"restartPolicy": "Never", "containers": [{"name": "c"}]}}
    meta = {"name": "j", "namespace": "n", "uid": "j", "resourceVersion": "1"}
    full = {"selector": {"matchLabels": LABELS}, "template": template, "completions": 1, "parallelism": 1, **spec}
    return {"metadata": meta, "spec": full}


def pod(name: str, phase: str = "Running", index: int | None = None, **more: Any) -> Obj:
    meta: dict[str, Any] = {
        "name": name,
        "namespace": "n",
        "uid": name,
        "labels": LABELS,
        "creationTimestamp": rfc3339(NOW - 100),
        "finalizers": [rules.FINALIZER],
        "ownerReferences": [{"apiVersion": "batch/v1", "kind": "Job", "name": "j", "uid": "j", "controller": True}],
        **more.get("meta", {}),
    }
    if index is not None:
        meta["annotations"] = {rules.INDEX: str(index), **more.get("annotations", {})}
    return {"metadata": meta, "spec": more.get("spec", {}), "status": {"phase": phase, **more.get("status", {})}}


def look(which: Obj, *pods: Obj) -> managing.Seen:
    return managing.look(which, pods, Failures(), NOW)


# -- indexes


@pytest.mark.parametrize(
    ("text", "completions", "shown"),
    [
        ("", 5, ""), (None, 5, ""), ("0", 5, "0"), ("0,1", 5, "0,1"), ("0,1,2", 5, "0-2"), ("0-2,4", 5, "0-2,4"),
        ("0-9", 5, "0-4"), ("7", 5, ""), ("x,1", 5, "1"), ("1-x,3", 5, "3"), ("3,1", 5, "1,3"),
    ],
)  # fmt: skip
def test_lists_of_indexes_are_read_as_far_as_they_go(text: str | None, completions: int, shown: str) -> None:
    assert str(Intervals.parse(text, completions)) == shown


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.sets(st.integers(0, 30)), st.sets(st.integers(0, 30)), st.integers(0, 31), st.integers(0, 31))
def test_intervals_are_sets(one: set[int], other: set[int], count: int, completions: int) -> None:
    a, b = Intervals.of(one), Intervals.of(other)
    assert a | b == Intervals.of(one | other)
    assert a.total() == len(one)
    assert a.common(b) == len(one & other)
    assert {i for i in range(31) if a.has(i)} == one
    assert a.missing(count, completions) == [i for i in range(completions) if i not in one][:count]
    assert Intervals.parse(str(a), 31) == a


# -- policies


def failed(*codes: int, conditions: tuple[str, ...] = ()) -> Obj:
    ended = [{"name": f"c{i}", "state": {"terminated": {"exitCode": code}}} for i, code in enumerate(codes)]
    met = [{"type": kind, "status": "True"} for kind in conditions]
    return pod("p", "Failed", status={"containerStatuses": ended, "conditions": met})


def on_codes(action: str, operator: str, *values: int, **more: str) -> Obj:
    return {"action": action, "onExitCodes": {"operator": operator, "values": list(values), **more}}


def on_condition(action: str, kind: str, status: str = "True") -> Obj:
    return {"action": action, "onPodConditions": [{"type": kind, "status": status}]}


@pytest.mark.parametrize(
    ("rules_", "which", "action"),
    [
        ([], failed(1), ""),
        ([on_codes("FailJob", "In", 1, 2)], failed(2), "FailJob"),
        ([on_codes("FailJob", "In", 1, 2)], failed(3), ""),
        ([on_codes("FailJob", "NotIn", 1, 2)], failed(3), "FailJob"),
        ([on_codes("FailJob", "NotIn", 1, 2)], failed(0), ""),
        ([on_codes("FailJob", "In", 1, containerName="c1")], failed(1, 0), ""),
        ([on_codes("FailJob", "In", 1, containerName="c1")], failed(0, 1), "FailJob"),
        ([on_condition("Ignore", "DisruptionTarget"), on_codes("FailJob", "In", 1)], failed(1), "FailJob"),
        ([on_condition("Ignore", "DisruptionTarget")], failed(conditions=("DisruptionTarget",)), "Ignore"),
        ([on_condition("Ignore", "DisruptionTarget", "False")], failed(conditions=("DisruptionTarget",)), ""),
        ([on_codes("Count", "In", 1), on_codes("FailJob", "In", 1)], failed(1), "Count"),
        ([on_codes("FailIndex", "In", 1)], failed(1), "FailIndex"),
    ],
)
def test_the_first_rule_that_matches_a_failure(rules_: list[Obj], which: Obj, action: str) -> None:
    verdict = judge({"rules": rules_}, which)
    assert verdict.action == action
    assert verdict.counts == (action != "Ignore")


@pytest.mark.parametrize(
    ("rule", "succeeded", "met"),
    [
        ({"succeededCount": 2}, {0, 4}, True),
        ({"succeededCount": 3}, {0, 4}, False),
        ({"succeededIndexes": "0-2"}, {0, 1, 2}, True),
        ({"succeededIndexes": "0-2"}, {0, 1, 3}, False),
        ({"succeededIndexes": "0-2", "succeededCount": 2}, {0, 2, 4}, True),
        ({"succeededIndexes": "0-2", "succeededCount": 2}, {0, 3, 4}, False),
        ({"succeededCount": 0}, set(), False),
    ],
)
def test_success_by_rule(rule: Obj, succeeded: set[int], met: bool) -> None:
    why = success({"rules": [{"succeededCount": 99}, rule]}, 5, Intervals.of(succeeded))
    assert why == ("Matched rules at index 1" if met else None)


# -- back-off


def ended(name: str, phase: str, at: float, **more: Any) -> Obj:
    status = {"containerStatuses": [{"state": {"terminated": {"exitCode": 1, "finishedAt": rfc3339(at)}}}]}
    return pod(name, phase, status=status, **more)


def test_failures_in_a_row_double_the_wait_and_a_success_ends_it() -> None:
    waits = [Failures(n, NOW).wait(NOW) for n in range(9)]
    assert waits == [0, 10, 20, 40, 80, 160, 320, 600, 600]
    assert Failures(2, NOW).wait(NOW + 15) == 5
    assert Failures(2, NOW).wait(NOW + 25) == 0
    bad = [ended("a", "Failed", NOW - 5), ended("b", "Failed", NOW - 3)]
    assert Failures(1, NOW - 60).then([], bad) == Failures(3, NOW - 3)
    assert Failures(4, NOW - 60).then([ended("c", "Succeeded", NOW - 4)], bad) == Failures(1, NOW - 3)
    assert Failures(4, NOW - 60).then([ended("c", "Succeeded", NOW)], bad) == Failures()
    assert Failures(4, NOW - 60).then([], []) == Failures(4, NOW - 60)


def test_an_index_waits_by_its_own_failures() -> None:
    last = ended("a", "Failed", NOW, index=0, annotations={rules.FAILURES: "1", rules.IGNORED: "1"})
    assert index_wait(last, NOW) == 40
    assert index_wait(None, NOW) == 0


@pytest.mark.parametrize(
    ("which", "at"),
    [
        (ended("p", "Failed", NOW - 7), NOW - 7),
        (pod("p", "Failed", status={"conditions": [
            {"type": "Ready", "status": "False", "lastTransitionTime": rfc3339(NOW - 8)}]}), NOW - 8),
        (pod("p", meta={"deletionTimestamp": rfc3339(NOW + 20), "deletionGracePeriodSeconds": 30}), NOW - 10),
        (pod("p"), NOW - 100),
    ],
)  # fmt: skip
def test_when_a_pod_ended(which: Obj, at: float) -> None:
    assert rules.finished_at(which) == at


# -- how many, and which


@pytest.mark.parametrize(
    ("spec", "pods", "created", "deleted"),
    [
        ({"completions": 5, "parallelism": 2}, [], 2, 0),
        ({"completions": 5, "parallelism": 2}, [pod("a")], 1, 0),
        ({"completions": 2, "parallelism": 2}, [pod("a", "Succeeded"), pod("b")], 0, 0),
        ({"completions": 1, "parallelism": 9}, [], 1, 0),
        ({"completions": None, "parallelism": 3}, [pod("a")], 2, 0),
        ({"completions": None, "parallelism": 3}, [pod("a", "Succeeded"), pod("b")], 0, 0),
        ({"completions": 5, "parallelism": 1}, [pod("a"), pod("b"), pod("c")], 0, 2),
        ({"completions": 5, "parallelism": 0}, [pod("a")], 0, 1),
        ({"completions": 5, "parallelism": 2, "suspend": True}, [pod("a"), pod("b")], 0, 2),
        ({"completions": 1, "parallelism": 1}, [pod("a", meta={"deletionTimestamp": rfc3339(NOW)})], 0, 0),
        ({"completions": 1, "parallelism": 1, "podReplacementPolicy": "Failed"},
         [pod("a", meta={"deletionTimestamp": rfc3339(NOW)})], 0, 0),
        ({"completions": 900, "parallelism": 900}, [], 500, 0),
        ({"completionMode": "Indexed", "completions": 3, "parallelism": 3}, [pod("a", index=1)], 2, 0),
        ({"completionMode": "Indexed", "completions": 3, "parallelism": 3}, [pod("a", index=1), pod("b", index=1)], 0, 1),
        ({"completionMode": "Indexed", "completions": 3, "parallelism": 3}, [pod("a", index=7), pod("b")], 0, 2),
    ],
)  # fmt: skip
def test_how_many_pods_are_made_and_removed(spec: Obj, pods: list[Obj], created: int, deleted: int) -> None:
    plan = JobController().reconcile(Observed(job(**spec), pods), NOW)
    assert sum(isinstance(action, Create) for action in plan.actions) == created
    assert sum(isinstance(action, Delete) for action in plan.actions) == deleted
    done = sum(p["status"]["phase"] == "Succeeded" or "deletionTimestamp" in p["metadata"] for p in pods)
    failed_only = spec.get("podReplacementPolicy") == "Failed"
    assert sum(isinstance(action, Patch) for action in plan.actions) == deleted + (0 if failed_only else done)


def test_a_deleted_pod_is_replaced_after_its_back_off_or_when_it_has_ended() -> None:
    dying = pod("a", meta={"deletionTimestamp": rfc3339(NOW), "deletionGracePeriodSeconds": 0})
    plan = JobController().reconcile(Observed(job(), [dying]), NOW)
    assert plan.requeue_after == 10
    later = JobController().reconcile(Observed(job(), [dying], Failures(1, NOW)), NOW + 20)
    assert sum(isinstance(action, Create) for action in later.actions) == 1
    waiting = JobController().reconcile(Observed(job(podReplacementPolicy="Failed"), [dying]), NOW + 20)
    assert waiting.requeue_after is None
    assert not any(isinstance(action, Create) for action in waiting.actions)


def test_those_that_have_done_least_go_first() -> None:
    ready = {"conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": rfc3339(NOW - 50)}]}
    fresh = {"conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": rfc3339(NOW - 5)}]}
    on_node = {"nodeName": "x"}
    pods = [
        pod("old", spec=on_node, status=ready),
        pod("fresh", spec=on_node, status=fresh),
        pod("running", spec=on_node),
        pod("pending", "Pending", spec=on_node),
        pod("nowhere", "Pending"),
    ]
    order = [p["metadata"]["name"] for p in rules.for_removal(job(), pods, 5)]
    assert order == ["nowhere", "pending", "running", "fresh", "old"]


# -- new pods


def test_a_new_pod_of_an_index() -> None:
    which = job(completionMode="Indexed", completions=3, backoffLimitPerIndex=3)
    which["spec"]["template"]["spec"]["initContainers"] = [{"name": "i", "env": [{"name": "JOB_COMPLETION_INDEX"}]}]
    made = rules.new_pod(which, 2, pod("x", "Failed", 2, annotations={rules.FAILURES: "1"}))
    assert made["metadata"]["generateName"] == "j-2-"
    assert made["metadata"]["labels"] == {**LABELS, rules.INDEX: "2"}
    assert made["metadata"]["annotations"] == {rules.INDEX: "2", rules.FAILURES: "2"}
    assert made["metadata"]["finalizers"] == [rules.FINALIZER]
    assert made["spec"]["hostname"] == "j-2"
    assert made["spec"]["initContainers"][0]["env"] == [{"name": "JOB_COMPLETION_INDEX"}]
    assert [v["name"] for v in made["spec"]["containers"][0]["env"]] == ["JOB_COMPLETION_INDEX"]
    assert "env" not in which["spec"]["template"]["spec"]["containers"][0]


def test_an_ignored_failure_is_told_apart() -> None:
    policy = {"rules": [on_codes("Ignore", "In", 1)]}
    which = job(completionMode="Indexed", completions=1, backoffLimitPerIndex=3, podFailurePolicy=policy)
    before = failed(1)
    before["metadata"]["annotations"] = {rules.INDEX: "0", rules.FAILURES: "2"}
    made = rules.new_pod(which, 0, before)
    assert made["metadata"]["annotations"][rules.FAILURES] == "2"
    assert made["metadata"]["annotations"][rules.IGNORED] == "1"


def test_long_names_leave_room_for_the_index() -> None:
    which = job(completionMode="Indexed")
    which["metadata"]["name"] = "x" * 60
    assert rules.new_pod(which, 17, None)["metadata"]["generateName"] == "x" * 54 + "-17-"


# -- the end


INDEXED = {"completionMode": "Indexed", "completions": 3, "parallelism": 3, "backoffLimitPerIndex": 0}


@pytest.mark.parametrize(
    ("which", "pods", "ends"),
    [
        (job(), [pod("a")], None),
        (job(backoffLimit=0), [pod("a", "Failed")], ("FailureTarget", "BackoffLimitExceeded")),
        (job(backoffLimit=1), [pod("a", "Failed")], None),
        (job(backoffLimit=2**31 - 1, **INDEXED), [pod("a", "Failed", 0), pod("b", "Running", 1)], None),
        (job(backoffLimit=2**31 - 1, **INDEXED, maxFailedIndexes=0), [pod("a", "Failed", 0)],
         ("FailureTarget", "MaxFailedIndexesExceeded")),
        (job(backoffLimit=2**31 - 1, **INDEXED), [pod("a", "Failed", 0), pod("b", "Succeeded", 1), pod("c", "Succeeded", 2)],
         ("FailureTarget", "FailedIndexes")),
        (job(**INDEXED, successPolicy={"rules": [{"succeededCount": 1}]}), [pod("b", "Succeeded", 1)],
         ("SuccessCriteriaMet", "SuccessPolicy")),
        (job(podFailurePolicy={"rules": [on_codes("FailJob", "In", 1)]}), [failed(1)], ("FailureTarget", "PodFailurePolicy")),
        (job(podFailurePolicy={"rules": [on_codes("Ignore", "In", 1)]}, backoffLimit=0), [failed(1)], None),
    ],
)  # fmt: skip
def test_when_a_job_ends(which: Obj, pods: list[Obj], ends: tuple[str, str] | None) -> None:
    found = ending.before_managing(look(which, *pods), NOW)
    assert (None if found is None else (found["type"], found["reason"])) == ends


@pytest.mark.parametrize(("limit", "restarts", "ends"), [(0, 0, False), (0, 1, True), (2, 1, False), (2, 2, True)])
def test_restarts_count_where_pods_restart(limit: int, restarts: int, ends: bool) -> None:
    which = job(backoffLimit=limit)
    which["spec"]["template"]["spec"]["restartPolicy"] = "OnFailure"
    running = pod("a", status={"containerStatuses": [{"restartCount": restarts}]})
    assert (ending.before_managing(look(which, running), NOW) is not None) == ends


def test_the_deadline_is_of_the_time_since_the_start() -> None:
    which = {**job(activeDeadlineSeconds=30), "status": {"startTime": rfc3339(NOW - 20)}}
    assert ending.deadline_in(which, NOW) == 10
    assert ending.before_managing(look(which), NOW) is None
    assert ending.before_managing(look(which), NOW + 10) is not None
    which["spec"]["suspend"] = True
    assert ending.deadline_in(which, NOW) is None


def test_what_was_decided_stands() -> None:
    target = {"type": "FailureTarget", "status": "True", "reason": "PodFailurePolicy", "message": "m"}
    which = {**job(), "status": {"conditions": [target]}}
    found = ending.before_managing(look(which, pod("a", "Succeeded")), NOW)
    assert found is not None
    assert (found["type"], found["reason"], found["message"]) == ("Failed", "PodFailurePolicy", "m")
