"""What each patch makes of an object."""

from __future__ import annotations

from typing import Any

import pytest

from navarch.api.schemas import schema
from navarch.machinery.errors import StatusError
from navarch.machinery.patch import json_patch, merge, strategic

DEPLOYMENT: dict[str, Any] = {
    "metadata": {"finalizers": ["a", "b"]},
    "spec": {
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}},
        "template": {"spec": {"containers": [{"name": "a", "image": "1"}, {"name": "b", "image": "2"}]}},
    },
}


def patched(patch: dict[str, Any]) -> dict[str, Any]:
    return strategic.apply(DEPLOYMENT, patch, schema("io.k8s.api.apps.v1.Deployment"))


def test_strategic_order_and_deletion_by_key() -> None:
    change = [{"name": "c", "image": "9"}, {"name": "a", "image": "3"}, {"$patch": "delete", "name": "b"}]
    order = [{"name": "c"}, {"name": "a"}]
    out = patched({"spec": {"template": {"spec": {"$setElementOrder/containers": order, "containers": change}}}})
    assert out["spec"]["template"]["spec"]["containers"] == change[:2]


def test_strategic_directives() -> None:
    out = patched(
        {
            "metadata": {"$deleteFromPrimitiveList/finalizers": ["a"]},
            "spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}},
        }
    )
    assert out["metadata"]["finalizers"] == ["b"]
    assert out["spec"]["strategy"] == {"type": "Recreate"}
    assert DEPLOYMENT["metadata"]["finalizers"] == ["a", "b"]


def test_strategic_malformed_directive_is_a_bad_request() -> None:
    with pytest.raises(StatusError) as caught:
        patched({"spec": {"$retainKeys": "strategy"}})
    assert caught.value.code == 400


def test_json_patch() -> None:
    operations = [
        {"op": "add", "path": "/a/-", "value": 3},
        {"op": "test", "path": "/a/0", "value": 1},
        {"op": "move", "from": "/a/1", "path": "/b"},
    ]
    assert json_patch.apply({"a": [1, 2]}, operations) == {"a": [1, 3], "b": 2}


@pytest.mark.parametrize("operation", [{"op": "test", "path": "/a", "value": 2}, {"op": "remove", "path": "/x"}])
def test_json_patch_that_does_not_apply(operation: dict[str, Any]) -> None:
    with pytest.raises(StatusError) as caught:
        json_patch.apply({"a": 1}, [operation])
    assert caught.value.code == 422


def test_merge_patch_of_a_diff() -> None:
    old, new = {"a": 1, "b": {"c": 1, "d": [1]}}, {"b": {"c": 2, "d": [1]}, "e": {}}
    assert merge.apply(old, merge.diff(old, new)) == new
