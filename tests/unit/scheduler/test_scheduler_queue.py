"""The scheduling queue: who is tried next, and when again."""

from __future__ import annotations

from typing import Any

from navarch.scheduler.podinfo import PodInfo
from navarch.scheduler.queue import SchedulingQueue


def pod(name: str, priority: int = 0, uid: str = "") -> PodInfo:
    meta: dict[str, Any] = {"name": name, "namespace": "default", "uid": uid or name}
    return PodInfo.of({"metadata": meta, "spec": {"containers": [], "priority": priority}})


def popped(queue: SchedulingQueue, now: float) -> str:
    info = queue.pop(now)
    return info.key.name if info else ""


def test_higher_priority_goes_first_then_the_older() -> None:
    queue = SchedulingQueue()
    queue.add(pod("old"), 1)
    queue.add(pod("new"), 2)
    queue.add(pod("urgent", 1000), 3)
    assert [popped(queue, 4) for _ in range(4)] == ["urgent", "old", "new", ""]


def test_an_unschedulable_pod_waits_for_a_change_and_its_back_off() -> None:
    queue = SchedulingQueue()
    queue.add(pod("a"), 0)
    assert popped(queue, 0) == "a"
    queue.failed(pod("a").key, 0)
    assert popped(queue, 100) == ""
    queue.something_changed(100)
    assert popped(queue, 100) == "a"
    queue.failed(pod("a").key, 100)
    queue.something_changed(100.5)  # the second attempt backs off two seconds
    assert popped(queue, 101) == ""
    assert queue.next_wake() == 102
    assert popped(queue, 102) == "a"


def test_a_change_during_the_attempt_counts() -> None:
    queue = SchedulingQueue()
    queue.add(pod("a"), 0)
    popped(queue, 0)
    queue.something_changed(0)
    queue.failed(pod("a").key, 0)
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
