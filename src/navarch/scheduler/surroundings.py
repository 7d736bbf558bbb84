"""What besides nodes and pods decides where a pod goes: namespaces, what selects pods, volumes, budgets."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from navarch.machinery.selectors import EVERYTHING, LabelSelector, from_label_selector
from navarch.machinery.types import Key, Obj
from navarch.scheduler.devices.state import Devices
from navarch.scheduler.podinfo import PodInfo
from navarch.scheduler.storage import Storage
from navarch.scheduler.terms import Labels, selector_of

OWNERS = {"ReplicaSet": "apps", "StatefulSet": "apps", "ReplicationController": ""}


@dataclass(slots=True)
class Surroundings:
    namespaces: dict[str, Labels] = field(default_factory=dict)
    services: dict[str, dict[str, Labels]] = field(default_factory=dict)
    """Namespace -> name of a service -> its selector; services without one are left out."""
    owners: dict[tuple[str, Key], Obj] = field(default_factory=dict)
    """(kind, key) -> spec.selector of replica sets, stateful sets and replication controllers."""
    budgets: dict[Key, Obj] = field(default_factory=dict)
    """PodDisruptionBudgets."""
    devices: Devices = field(default_factory=Devices)
    storage: Storage = field(default_factory=Storage)
    _selectors: dict[tuple[object, ...], LabelSelector] = field(default_factory=dict)

    def set_service(self, key: Key, service: Obj | None) -> None:
        selector = (service or {}).get("spec", {}).get("selector")
        known = self.services.setdefault(key.namespace, {})
        if known.get(key.name) == (selector or None):
            return
        if selector:
            known[key.name] = selector
        else:
            known.pop(key.name, None)
        self._selectors.clear()

    def set_owner(self, kind: str, key: Key, owner: Obj | None) -> None:
        selector = (owner or {}).get("spec", {}).get("selector")
        if kind == "ReplicationController" and selector is not None:
            selector = {"matchLabels": selector}
        if self.owners.get((kind, key)) == selector:
            return
        if selector is None:
            self.owners.pop((kind, key), None)
        else:
            self.owners[kind, key] = selector
        self._selectors.clear()

    def default_selector(self, pod: PodInfo) -> LabelSelector:
        """What pods like this one have in common: the selectors of its services and of its controller, together.
        It matches everything where there are none. Source: plugins/helper/spread.go DefaultSelector."""
        owner = next((o for o in pod.obj["metadata"].get("ownerReferences") or () if o.get("controller")), None)
        key = (pod.shape, owner and (owner["kind"], owner["name"]))
        found = self._selectors.get(key)
        if found is None:
            if len(self._selectors) > 4096:
                self._selectors.clear()
            found = self._selectors[key] = self._worked_out(pod, owner)
        return found

    def _worked_out(self, pod: PodInfo, owner: Obj | None) -> LabelSelector:
        labels = pod.shape.labels
        wanted: dict[str, str] = {}
        for selector in self.services.get(pod.key.namespace, {}).values():
            if all(labels.get(name) == value for name, value in selector.items()):
                wanted |= selector
        expressions: list[Obj] = []
        if owner and OWNERS.get(owner["kind"]) == owner["apiVersion"].rpartition("/")[0]:
            selector = self.owners.get((owner["kind"], Key(pod.key.namespace, owner["name"]))) or {}
            wanted |= selector.get("matchLabels") or {}
            expressions = selector.get("matchExpressions") or []
        if not wanted and not expressions:
            return EVERYTHING
        return selector_of({"matchLabels": wanted, "matchExpressions": expressions})

    def budgets_of(self, pod: PodInfo) -> Iterable[Obj]:
        """The budgets that a pod counts in. One with an empty selector is for no pod here, as upstream has it."""
        labels = pod.shape.labels
        if not labels:
            return
        for key, budget in self.budgets.items():
            if key.namespace == pod.key.namespace:
                selector = from_label_selector(budget["spec"].get("selector"))
                if not selector.empty and selector.matches(labels):
                    yield budget
