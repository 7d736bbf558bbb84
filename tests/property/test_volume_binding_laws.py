"""Binding of random claims and volumes, seen through caches that lag: what is bound is bound both ways, and to one only."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from navarch.api.core.persistentvolumeclaim import class_of
from navarch.api.storage import matching
from navarch.controllers.volumes import claims, reclaim
from navarch.controlloop.plan import Call, Delete, Plan, Update
from navarch.machinery import trees

Obj = dict[str, Any]
MODES = ("ReadWriteOnce", "ReadOnlyMany", "ReadWriteMany")


async def gone() -> None: ...


class World:
    """An API of claims and volumes: writes that were decided on an older state are refused."""

    def __init__(self, volumes: list[Obj], wanted: list[Obj]) -> None:
        self.revision = 1
        self.objects = {self.key(obj): obj for obj in (*volumes, *wanted)}
        self.past = [dict(self.objects)]

    @staticmethod
    def key(obj: Obj) -> tuple[str, str]:
        return obj["metadata"].get("namespace", ""), obj["metadata"]["name"]

    def decide(self, key: tuple[str, str], seen: dict[tuple[str, str], Obj]) -> Plan:
        obj = seen.get(key)
        if obj is None:
            return Plan()
        if not key[0]:
            reference = obj["spec"].get("claimRef") or {}
            claim = seen.get((reference.get("namespace", ""), reference.get("name", "")))
            if claim is None or claim["metadata"]["uid"] != reference.get("uid"):
                now = self.objects.get((reference.get("namespace", ""), reference.get("name", "")))
                if now is not None and now["metadata"]["uid"] == reference.get("uid"):
                    return Plan()  # what `confirm` is for: the claim is there
            return reclaim.reconcile(reclaim.ObservedVolume(obj, claim, (), None, gone))
        named = seen.get(("", obj["spec"].get("volumeName", "")))
        candidates = [each for where, each in seen.items() if not where[0]]
        return claims.reconcile(claims.ObservedClaim(obj, named, candidates, None, None, ()))

    def carry_out(self, plan: Plan) -> bool:
        """True where anything was written."""
        wrote, rebased = False, dict[tuple[tuple[str, str], str], str]()
        for action in plan.actions:
            if isinstance(action, Call | Delete):
                break  # outside effects are not of this world
            if not isinstance(action, Update):
                continue
            key, version = self.key(action.object), action.object["metadata"]["resourceVersion"]
            current = self.objects[key]
            if current["metadata"]["resourceVersion"] != rebased.get((key, version), version):
                break
            self.revision += 1
            made = trees.copy(action.object)
            part = "status" if action.subresource else "spec"
            made = {**current, part: made.get(part, {}), "metadata": {**made["metadata"]}}
            made["metadata"]["resourceVersion"] = rebased[key, version] = str(self.revision)
            self.objects[key] = made
            wrote = True
        self.past.append(dict(self.objects))
        return wrote


@st.composite
def volume(draw: st.DrawFn, index: int, claim_names: list[str]) -> Obj:
    spec: Obj = {
        "capacity": {"storage": f"{draw(st.integers(1, 4))}Gi"},
        "accessModes": draw(st.lists(st.sampled_from(MODES), min_size=1, max_size=3, unique=True)),
        "persistentVolumeReclaimPolicy": "Retain",
        "storageClassName": draw(st.sampled_from(["", "fast"])),
        "volumeMode": draw(st.sampled_from(["Filesystem", "Filesystem", "Block"])),
    }
    if claim_names and draw(st.integers(0, 4)) == 0:
        spec["claimRef"] = {"namespace": "ns", "name": draw(st.sampled_from(claim_names))}
    meta = {"name": f"v{index}", "uid": f"v{index}", "resourceVersion": "1", "creationTimestamp": ""}
    return {"metadata": meta, "spec": spec, "status": {"phase": draw(st.sampled_from(["Available", "Pending"]))}}


@st.composite
def claim(draw: st.DrawFn, index: int, volumes: int) -> Obj:
    spec: Obj = {
        "resources": {"requests": {"storage": f"{draw(st.integers(1, 4))}Gi"}},
        "accessModes": draw(st.lists(st.sampled_from(MODES), min_size=1, max_size=2, unique=True)),
        "storageClassName": "",
        "volumeMode": draw(st.sampled_from(["Filesystem", "Filesystem", "Block"])),
    }
    if volumes and draw(st.integers(0, 4)) == 0:
        spec["volumeName"] = f"v{draw(st.integers(0, volumes - 1))}"
    meta = {"name": f"c{index}", "namespace": "ns", "uid": f"c{index}", "resourceVersion": "1"}
    return {"metadata": meta, "spec": spec, "status": {"phase": "Pending"}}


@st.composite
def world(draw: st.DrawFn) -> World:
    count, many = draw(st.integers(0, 5)), draw(st.integers(1, 5))
    names = [f"c{index}" for index in range(many)]
    volumes = [draw(volume(index, names)) for index in range(count)]
    return World(volumes, [draw(claim(index, count)) for index in range(many)])


def check(found: World) -> None:
    """At any time: a bound claim's volume is its own, and fits it where the controller had a say."""
    users: dict[str, str] = {}
    for key, obj in found.objects.items():
        if not key[0] or obj["status"]["phase"] != "Bound":
            continue
        name = obj["spec"]["volumeName"]
        held = found.objects["", name]
        assert name not in users, f"{key[1]} and {users[name]} have {name}"
        users[name] = key[1]
        assert held["spec"]["claimRef"]["uid"] == obj["metadata"]["uid"]
        if not any(matching.annotated(each, matching.BOUND_BY_CONTROLLER) for each in (obj, held)):
            continue  # people have tied both ends, whether they fit or not
        assert matching.size_of(held) >= matching.size_of(obj) and matching.mode_of(held) == matching.mode_of(obj)
        assert matching.has_modes(held, obj)


@settings(max_examples=150, deadline=None)
@given(world(), st.data())
def test_what_is_bound_is_bound_both_ways_and_everything_settles(found: World, data: st.DataObject) -> None:
    keys = sorted(found.objects)
    for _ in range(data.draw(st.integers(0, 25))):
        key = data.draw(st.sampled_from(keys))
        seen = found.past[-1 - data.draw(st.integers(0, min(3, len(found.past) - 1)))]
        found.carry_out(found.decide(key, seen))
        check(found)
    for _ in range(40):  # with caches that keep up it comes to rest
        wrote = [found.carry_out(found.decide(key, found.objects)) for key in keys]
        if not any(wrote):
            break
    else:
        raise AssertionError("it does not come to rest")
    check(found)
    for key, obj in found.objects.items():
        if key[0] and obj["status"]["phase"] == "Pending" and not obj["spec"].get("volumeName"):
            volumes = [each for where, each in found.objects.items() if not where[0]]
            assert matching.find(obj, volumes, waits=False) is None, "a volume that serves it is free"
        if not key[0] and obj["status"]["phase"] == "Available":
            assert not obj["spec"].get("claimRef", {}).get("uid")
    assert all(class_of(obj) in ("", "fast") for obj in found.objects.values())
