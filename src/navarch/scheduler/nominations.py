"""Pods for which room is being made on a node: others of no higher priority must not take it meanwhile."""

from __future__ import annotations

from collections.abc import Iterator

from navarch.scheduler.podinfo import PodInfo


class Nominations:
    def __init__(self) -> None:
        self._by_uid: dict[str, tuple[str, PodInfo]] = {}
        self._by_node: dict[str, dict[str, PodInfo]] = {}

    def __len__(self) -> int:
        return len(self._by_uid)

    def set(self, pod: PodInfo, node: str) -> None:
        """`node` empty: none any more."""
        self.remove(pod.uid)
        if node:
            self._by_uid[pod.uid] = (node, pod)
            self._by_node.setdefault(node, {})[pod.uid] = pod

    def remove(self, uid: str) -> None:
        known = self._by_uid.pop(uid, None)
        if known:
            there = self._by_node[known[0]]
            del there[uid]
            if not there:
                del self._by_node[known[0]]

    def node_of(self, uid: str) -> str:
        known = self._by_uid.get(uid)
        return known[0] if known else ""

    def on(self, node: str) -> list[PodInfo]:
        return list(self._by_node.get(node, {}).values())

    def before(self, pod: PodInfo) -> Iterator[tuple[str, list[PodInfo]]]:
        """Node by node, the nominated pods that a pod must leave room for."""
        for node, pods in self._by_node.items():
            found = [other for other in pods.values() if other.priority >= pod.priority and other.uid != pod.uid]
            if found:
                yield node, found
