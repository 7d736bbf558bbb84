"""The scheduling queue: who is tried next, and when again."""

from __future__ import annotations

from typing import Any

from navarch.scheduler.hints import Happening
from navarch.scheduler.podinfo import PodInfo
from navarch.scheduler.queue import SchedulingQueue

SOMETHING = Happening("node", None, {"metadata": {"name": "n"}})


def pod(name: str, priority: int = 0, uid: str = "") -> PodInfo:
    meta: dict[str, Any] = {"name": name, "namespace": "default", "uid": uid or name}
    return PodInfo.of({"metadata": meta, "spec": {"containers": [], "priority": priority}})


def popped(queue: SchedulingQueue, now: float) -> str:
    info = queue.pop(now)
    return info.key.name if info else ""


def happened(queue: SchedulingQueue, now: float, helps: bool = True) -> None:
    queue.happened([SOMETHING], now, lambda info, plugins, happening: helps)


def test_higher_priority_goes_first_then_the_older() -> None:
    queue = SchedulingQueue()
    queue.add(pod("old"), 1)
    queue.add(pod("new"), 2)
    queue.add(pod("urgent", 1000), 3)
    assert [popped(queue, 4) for _ in range(4)] == ["urgent", "old", "new", ""]


def test_an_unschedulable_pod_waits_for_a_change_that_helps_and_its_back_off() -> None:
    queue = SchedulingQueue()
    queue.add(pod("a"), 0)
    assert popped(queue, 0) == "a"
    queue.failed(pod("a").key, 0)
    assert popped(queue, 100) == ""
    happened(queue, 100, helps=False)
    assert popped(queue, 100) == ""
    happened(queue, 100)
    assert popped(queue, 100) == "a"
    queue.failed(pod("a").key, 100)
    happened(queue, 100.5)  # the second attempt backs off two seconds
    assert queue.next_wake() == 102
    assert queue.counts()["backoff"] == 1


def test_pods_that_back_off_are_tried_early_where_nothing_else_waits_but_not_after_errors() -> None:
    queue = SchedulingQueue()
    for name in ("fits-not", "fails", "fresh"):
        queue.add(pod(name), 0)
        assert popped(queue, 0) == name
        if name != "fresh":
            queue.failed(pod(name).key, 0, at_once=name == "fails")
    happened(queue, 0)
    queue.add(pod("new"), 0)
    assert [popped(queue, 0.5) for _ in range(3)] == ["new", "fits-not", ""]
    assert popped(queue, 1) == "fails"


def test_a_change_during_the_attempt_counts() -> None:
    queue = SchedulingQueue()
    queue.add(pod("a"), 0)
    popped(queue, 0)
    happened(queue, 0)
    queue.failed(pod("a").key, 0)
    assert popped(queue, 1) == "a"


def test_while_room_is_made_only_what_helps_counts() -> None:
    queue = SchedulingQueue()
    queue.add(pod("a"), 0)
    popped(queue, 0)
    queue.hold(pod("a").key, frozenset(["NodeResourcesFit"]))
    happened(queue, 0, helps=False)
    queue.failed(pod("a").key, 0, frozenset(["NodeResourcesFit"]))
    assert popped(queue, 1) == ""
    queue.activate(pod("a").key)
    assert popped(queue, 1) == "a"


def test_a_forgotten_pod_is_tried_after_five_minutes() -> None:
    queue = SchedulingQueue()
    queue.add(pod("a"), 0)
    popped(queue, 0)
    queue.failed(pod("a").key, 0)
    queue.flush(299)
    assert popped(queue, 299) == ""
    queue.flush(300)
    assert popped(queue, 300) == "a"


def test_removed_pods_and_old_uids_are_not_tried() -> None:
    queue = SchedulingQueue()
    queue.add(pod("a"), 0)
    queue.remove(pod("a").key)
    assert popped(queue, 0) == ""
    queue.add(pod("b", uid="1"), 0)
    queue.add(pod("b", uid="2"), 0)
    assert popped(queue, 0) == "b"
    assert popped(queue, 0) == ""
    assert len(queue) == 1
