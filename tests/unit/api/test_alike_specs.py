"""Specs are remembered once judged; what is judged by more than the spec is judged each time."""

from __future__ import annotations

from typing import Any

from navarch.api.core.pod import validate
from navarch.api.podspec.validation import validate_spec
from navarch.api.podspec.warnings import pod_warnings
from navarch.machinery.errors import FieldErrors
from navarch.machinery.types import Obj

BASE: Obj = {
    "terminationGracePeriodSeconds": 30,
    "restartPolicy": "Always",
    "dnsPolicy": "ClusterFirst",
    "containers": [{"name": "a", "image": "a", "imagePullPolicy": "Always", "terminationMessagePolicy": "File"}],
}


def problems(spec: Obj, name: str = "a") -> list[str]:
    errs = FieldErrors()
    validate({"metadata": {"name": name}, "spec": spec}, errs)
    return [error.field for error in errs.items]


def test_a_wrong_spec_is_wrong_each_time() -> None:
    wrong = {**BASE, "restartPolicy": "Sometimes"}
    assert problems(BASE) == []
    assert problems(wrong) == problems(wrong) == ["spec.restartPolicy"]
    assert problems(BASE) == []


def test_a_template_may_what_a_pod_may_not() -> None:
    port = {"containerPort": 80, "protocol": "TCP"}
    spec = {**BASE, "hostNetwork": True, "containers": [{**BASE["containers"][0], "ports": [port]}]}
    for _ in range(2):
        errs = FieldErrors()
        validate_spec(spec, "spec", errs)
        assert not errs
        assert problems(spec) == ["spec.containers[0].ports[0].hostPort"]


def test_names_of_claims_depend_on_the_pod() -> None:
    claim = {"spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}
    spec: dict[str, Any] = {**BASE, "volumes": [{"name": "data", "ephemeral": {"volumeClaimTemplate": claim}}]}
    assert problems(spec, "short") == []
    assert problems(spec, "x" * 252) == ["spec.volumes[0].name"]
    assert problems(spec, "short") == []


def test_warnings_are_for_those_who_make_pods() -> None:
    twice = {**BASE, "imagePullSecrets": [{"name": "s"}, {"name": "s"}]}
    pod = {"metadata": {"name": "a"}, "spec": twice}
    assert pod_warnings(pod, None) == pod_warnings(pod, None) == ['spec.imagePullSecrets[1].name: duplicate name "s"']
    assert pod_warnings(pod, pod) == []
