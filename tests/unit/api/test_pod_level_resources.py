"""What a pod asks for as a whole must hold what its containers ask for. Texts of a real kube-apiserver 1.36."""

from __future__ import annotations

from typing import Any

import pytest

from navarch.api.podspec.quantities import validate_pod_resources
from navarch.machinery.errors import FieldErrors

Obj = dict[str, Any]


def container(**resources: Obj) -> Obj:
    return {"name": "c", "resources": resources}


@pytest.mark.parametrize(
    "resources, containers, said",
    [
        ({"requests": {"cpu": "1"}}, [container(requests={"cpu": "500m"})] * 2, []),
        (
            {"requests": {"cpu": "900m"}},
            [container(requests={"cpu": "500m"})] * 2,
            [
                'requests[cpu]: Invalid value: "900m": must be greater than or equal to aggregate container requests of 1'
            ],
        ),
        (
            {"limits": {"memory": "1Gi"}},
            [container(limits={"memory": "2Gi"})],
            ['containers[0][memory].limits: Invalid value: "2Gi": must be less than or equal to pod limits of 1Gi'],
        ),
        ({"limits": {"cpu": "1"}}, [container(limits={"cpu": "600m"})] * 2, []),
        (
            {"requests": {"ephemeral-storage": "1Gi"}},
            [container()],
            [
                'requests[ephemeral-storage]: Unsupported value: "ephemeral-storage": supported values: "cpu", '
                '"hugepages-", "memory"'
            ],
        ),
        (
            {"claims": [{"name": "x"}]},
            [container()],
            ["claims: Forbidden: claims may not be set for Resources at pod-level"],
        ),
    ],
)
def test_consistency(resources: Obj, containers: list[Obj], said: list[str]) -> None:
    errs = FieldErrors()
    validate_pod_resources({"containers": containers}, resources, "spec.resources", {"x"}, errs)
    assert [str(item).removeprefix("spec.resources.") for item in errs.items] == said


def test_windows_has_none() -> None:
    errs = FieldErrors()
    validate_pod_resources(
        {"os": {"name": "windows"}, "containers": []}, {"limits": {"cpu": "1"}}, "spec.resources", (), errs
    )
    assert [str(item) for item in errs.items] == ["spec.resources: Forbidden: may not be set for a windows pod"]
