"""What keeps ServiceCIDRs and VolumeAttributesClasses from going."""

from __future__ import annotations

from typing import Any

import pytest

from navarch.controllers import attributesclasses, servicecidrs
from navarch.controllers.attributesclasses import AttributesClassProtectionController, classes_of
from navarch.controllers.servicecidrs import GRACE_SECONDS, ServiceCidrController
from navarch.controlloop.plan import Patch, Plan, Update
from navarch.machinery.clock import rfc3339

NOW = 1_800_000_000.0
READY = {"type": "Ready", "status": "True"}


def cidr(*cidrs: str, name: str = "c", deleted: float | None = None, **more: Any) -> dict[str, Any]:
    metadata: dict[str, Any] = {"name": name, "uid": "u", "resourceVersion": "1", "finalizers": []}
    if deleted is not None:
        metadata |= {"deletionTimestamp": rfc3339(deleted), "finalizers": [servicecidrs.FINALIZER]}
    return {"metadata": {**metadata, **more}, "spec": {"cidrs": list(cidrs)}, "status": {"conditions": [READY]}}


def decide(range_: dict[str, Any], others: list[Any] | None = None, addresses: tuple[str, ...] = ()) -> Plan:
    return ServiceCidrController().reconcile(servicecidrs.Observed(range_, others or [], addresses), NOW)


def finalizers(plan: Plan) -> list[str]:
    (action,) = plan.actions
    if isinstance(action, Patch):
        return action.patch["metadata"]["finalizers"]
    assert isinstance(action, Update)
    return action.object["metadata"]["finalizers"]


def test_a_new_range_is_guarded_and_then_ready() -> None:
    assert finalizers(decide(cidr("10.0.0.0/24"))) == [servicecidrs.FINALIZER]
    guarded = {**cidr("10.0.0.0/24", finalizers=[servicecidrs.FINALIZER]), "status": {}}
    (action,) = decide(guarded).actions
    assert isinstance(action, Update) and action.subresource == "status"
    assert action.object["status"]["conditions"][0]["status"] == "True"
    assert not decide(cidr("10.0.0.0/24", finalizers=[servicecidrs.FINALIZER])).actions


@pytest.mark.parametrize(
    ("others", "addresses", "goes"),
    [
        ([], (), True),
        ([], ("10.0.1.1",), True),
        ([], ("10.0.0.7",), False),
        (["10.0.0.0/16"], ("10.0.0.7",), True),
        (["10.0.0.0/25"], ("10.0.0.7", "10.0.0.200"), False),
        (["fd00::/112"], ("10.0.0.7",), False),
    ],
)
def test_a_range_goes_once_no_address_needs_it(others: list[str], addresses: tuple[str, ...], goes: bool) -> None:
    going = cidr("10.0.0.0/24", deleted=NOW - GRACE_SECONDS - 1)
    plan = decide(going, [cidr(o, name="o") for o in others], addresses)
    if goes:
        assert finalizers(plan) == []
    else:
        (action,) = plan.actions
        assert isinstance(action, Update)
        assert action.object["status"]["conditions"][0]["reason"] == "Terminating"


def test_a_range_waits_before_it_goes() -> None:
    plan = decide(cidr("10.0.0.0/24", deleted=NOW - 4))
    assert (plan.actions, plan.requeue_after) == ([], GRACE_SECONDS - 4)


def protect(obj: dict[str, Any], used: bool) -> Plan:
    return AttributesClassProtectionController().reconcile(attributesclasses.Observed(obj, used), NOW)


def test_a_class_goes_once_nobody_uses_it() -> None:
    new = {"metadata": {"name": "v", "resourceVersion": "1"}}
    assert finalizers(protect(new, False)) == [attributesclasses.FINALIZER]
    going = {
        "metadata": {**new["metadata"], "deletionTimestamp": "x", "finalizers": [attributesclasses.FINALIZER, "a"]}
    }
    assert finalizers(protect(going, False)) == ["a"]
    assert not protect(going, True).actions


def test_users_are_those_who_want_have_or_change_to_it() -> None:
    claim = {
        "spec": {"volumeAttributesClassName": "a"},
        "status": {
            "currentVolumeAttributesClassName": "b",
            "modifyVolumeStatus": {"targetVolumeAttributesClassName": "c"},
        },
    }
    assert classes_of(claim) == {"a", "b", "c"}
    assert classes_of({"spec": {}}) == set()
