"""What is sent of a changed status."""

from __future__ import annotations

from navarch.kubelet.status_writer import status_patch


def condition(kind: str, status: str, **more: str) -> dict[str, str]:
    return {"type": kind, "status": status, **more}


def test_nothing_changed_is_nothing_sent() -> None:
    status = {"phase": "Running", "conditions": [condition("Ready", "True")]}
    assert status_patch(status, {**status}) == {}


def test_only_changed_conditions_are_sent_and_what_they_no_longer_say_is_taken_away() -> None:
    before = {
        "conditions": [condition("Ready", "False", reason="ContainersNotReady"), condition("Initialized", "True")]
    }
    after = {"conditions": [condition("Ready", "True"), condition("Initialized", "True")]}
    assert status_patch(before, after) == {"conditions": [{"type": "Ready", "status": "True", "reason": None}]}


def test_addresses_are_replaced_not_merged() -> None:
    patch = status_patch({"podIPs": [{"ip": "10.0.0.1"}]}, {"podIPs": [{"ip": "10.0.0.2"}]})
    assert patch == {"podIPs": [{"$patch": "replace"}, {"ip": "10.0.0.2"}]}


def test_a_field_that_went_is_null() -> None:
    assert status_patch({"reason": "Evicted"}, {}) == {"reason": None}
