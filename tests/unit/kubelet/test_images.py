"""Names of images, and which credentials are theirs."""

from __future__ import annotations

import base64
import json

import pytest

from navarch.kubelet.images import credentials, normalised


@pytest.mark.parametrize(
    ("image", "whole"),
    [
        ("nginx", "docker.io/library/nginx:latest"),
        ("nginx:1.25", "docker.io/library/nginx:1.25"),
        ("user/app", "docker.io/user/app:latest"),
        ("localhost/app", "localhost/app:latest"),
        ("localhost:5000/app:v1", "localhost:5000/app:v1"),
        ("registry.example.com/a/b", "registry.example.com/a/b:latest"),
        ("nginx@sha256:" + "a" * 64, "docker.io/library/nginx@sha256:" + "a" * 64),
        ("nginx:1.25@sha256:" + "a" * 64, "docker.io/library/nginx@sha256:" + "a" * 64),
    ],
)
def test_whole_names(image: str, whole: str) -> None:
    assert normalised(image) == whole


@pytest.mark.parametrize("image", ["", "No Such:::1", "UPPER/case", "a//b", "nginx:", "a b", "-x", "nginx@sha256:12"])
def test_what_is_no_name(image: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        normalised(image)


def secret(config: object, kind: str = "kubernetes.io/dockerconfigjson") -> dict[str, object]:
    key = ".dockerconfigjson" if kind.endswith("json") else ".dockercfg"
    return {"type": kind, "data": {key: base64.b64encode(json.dumps(config).encode()).decode()}}


def test_credentials_are_those_of_the_images_registry() -> None:
    auth = base64.b64encode(b"me:se:cret").decode()
    config = {"auths": {"https://r.example.com": {"auth": auth}, "other.example.com": {"username": "x"}}}
    found = credentials("r.example.com/app", [secret(config)])
    assert [(c["username"], c["password"]) for c in found] == [("me", "se:cret")]


def test_docker_hub_has_several_names() -> None:
    config = {"https://index.docker.io/v1/": {"username": "u", "password": "p"}}
    assert credentials("nginx", [secret(config, "kubernetes.io/dockercfg")])[0]["username"] == "u"


def test_secrets_that_are_none_are_passed_over() -> None:
    broken = {"type": "kubernetes.io/dockerconfigjson", "data": {".dockerconfigjson": "bm8ganNvbg=="}}
    assert credentials("nginx", [broken, {"type": "Opaque", "data": {}}]) == []
