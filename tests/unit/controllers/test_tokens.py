"""Tokens in secrets: of service accounts, and of machines that join."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from tests.support.apiserver import api_server
from tests.support.hollow import cluster, until

from navarch.client.resources import CONFIG_MAPS, SECRETS, SERVICE_ACCOUNTS
from navarch.controllers.bootstrap import BootstrapSigner, Observed, TokenCleaner, signature
from navarch.controllers.tokens import LegacyTokenCleaner, ObservedOld, secrets_of
from navarch.controlloop.plan import Delete, Patch, Update
from navarch.machinery.clock import rfc3339
from navarch.machinery.types import GroupResource, Obj

NS, NOW = "default", 1_790_000_000.0
DAY = 86400.0
TYPE = "kubernetes.io/service-account-token"


def token_secret(name: str, account: str) -> Obj:
    meta = {"name": name, "annotations": {"kubernetes.io/service-account.name": account}}
    return {"metadata": meta, "type": TYPE}


async def test_token_secrets_are_filled_unlisted_and_deleted_with_their_account() -> None:
    async with cluster(1) as (server, _):
        client = server.system

        def secret(name: str) -> Obj | None:
            return server.lookup(GroupResource("", "secrets"), NS, name)

        await client.create(SECRETS, token_secret("early", "nobody"), NS)
        await until("a secret of no account is gone", lambda: secret("early") is None)
        await client.create(SERVICE_ACCOUNTS, {"metadata": {"name": "robot"}, "secrets": [{"name": "t"}]}, NS)
        await client.create(SECRETS, token_secret("t", "robot"), NS)
        await client.create(SECRETS, token_secret("u", "robot"), NS)
        for name in ("t", "u"):
            await until("it is filled", lambda name=name: ((secret(name) or {}).get("data") or {}).get("token"))
        await client.delete(SECRETS, "t", NS)
        accounts = GroupResource("", "serviceaccounts")
        await until("it is unlisted", lambda: not (server.lookup(accounts, NS, "robot") or {}).get("secrets"))
        await client.delete(SERVICE_ACCOUNTS, "robot", NS)
        await until("the other one went with the account", lambda: secret("u") is None)


def old_token(**labels: str) -> Obj:
    meta = {"name": "t", "namespace": NS, "uid": "t", "resourceVersion": "7", "labels": labels}
    meta["annotations"] = {"kubernetes.io/service-account.name": "robot"}
    return {"metadata": {**meta, "creationTimestamp": rfc3339(NOW - 800 * DAY)}, "type": TYPE}


def day(days_ago: float) -> str:
    return rfc3339(NOW - days_ago * DAY)[:10]


ROBOT = {"metadata": {"name": "robot", "namespace": NS, "uid": "a"}, "secrets": [{"name": "t"}]}
USED, INVALID = "kubernetes.io/legacy-token-last-used", "kubernetes.io/legacy-token-invalid-since"


@pytest.mark.parametrize(
    ("secret", "account", "pods", "since", "outcome"),
    [
        (old_token(), ROBOT, [], day(700), "mark"),
        (old_token(), ROBOT, [], day(100), "keep"),
        (old_token(), ROBOT, [], "", "keep"),
        (old_token(**{USED: day(10)}), ROBOT, [], day(700), "keep"),
        (old_token(**{USED: day(400)}), ROBOT, [], day(700), "mark"),
        (old_token(**{USED: "once"}), ROBOT, [], day(700), "keep"),
        (old_token(), {**ROBOT, "secrets": []}, [], day(700), "keep"),
        (old_token(), None, [], day(700), "keep"),
        (old_token(), ROBOT, [{"spec": {"volumes": [{"secret": {"secretName": "t"}}]}}], day(700), "keep"),
        (old_token(), ROBOT, [{"spec": {"volumes": [{"secret": {"secretName": "s"}}]}}], day(700), "mark"),
        (old_token(**{INVALID: day(10)}), ROBOT, [], day(700), "keep"),
        (old_token(**{INVALID: "lately"}), ROBOT, [], day(700), "mark"),
        (old_token(**{INVALID: day(370)}), ROBOT, [], day(700), "delete"),
    ],
)
def test_tokens_unused_for_a_year_are_given_up(
    secret: Obj, account: Obj | None, pods: list[Obj], since: str, outcome: str
) -> None:
    plan = LegacyTokenCleaner().reconcile(ObservedOld(secret, account, pods, since), NOW)
    made = {Patch: "mark", Delete: "delete"}
    assert [made[type(action)] for action in plan.actions] == ([] if outcome == "keep" else [outcome])
    if outcome == "mark":
        (patch,) = plan.actions
        assert isinstance(patch, Patch) and patch.patch["metadata"]["labels"] == {INVALID: day(0)}


def test_secrets_that_a_pod_names() -> None:
    projected = {"projected": {"sources": [{"secret": {"name": "b"}}, {"configMap": {"name": "no"}}]}}
    env = [{"valueFrom": {"secretKeyRef": {"name": "c", "key": "k"}}}]
    container = {"name": "no", "env": env, "envFrom": [{"secretRef": {"name": "d"}}]}
    spec = {
        "volumes": [
            {"name": "no", "secret": {"secretName": "a"}},
            projected,
            {"csi": {"nodePublishSecretRef": {"name": "e"}}},
        ],
        "initContainers": [container],
        "containers": [{"name": "no"}],
        "imagePullSecrets": [{"name": "f"}],
    }
    assert set(secrets_of({"spec": spec})) == {"a", "b", "c", "d", "e", "f"}


async def test_since_when_the_use_of_tokens_is_noted() -> None:
    async with api_server() as server:
        found = await server.system.get(
            CONFIG_MAPS, "kube-apiserver-legacy-service-account-token-tracking", "kube-system"
        )
        assert found["data"]["since"] == rfc3339(server.world.now())[:10]


# -- bootstrap tokens


def bootstrap(name: str, **data: str) -> Obj:
    plain = {"token-id": name, "token-secret": "0123456789abcdef", "usage-bootstrap-signing": "true", **data}
    encoded = {key: base64.b64encode(value.encode()).decode() for key, value in plain.items()}
    meta = {"name": f"bootstrap-token-{name}", "namespace": "kube-system", "uid": name}
    return {"metadata": meta, "type": "bootstrap.kubernetes.io/token", "data": encoded}


def test_a_signature_is_a_jws_without_its_content() -> None:
    """Content, id, secret and signature are those of cluster-bootstrap's own tests."""
    content = "Hello from the other side. I must have called a thousand times."
    made = signature(content, "joshua", "my voice is my passcode")
    header, middle, tail = made.split(".")
    assert base64.urlsafe_b64decode(header + "==") == b'{"alg":"HS256","kid":"joshua"}'
    assert middle == "" and tail == "VShe2taLd-YTrmWuRkcL_8QTNDHYxQIEBsAYYiIj1_8"


def test_cluster_info_is_signed_by_the_tokens_for_it() -> None:
    data: dict[str, Any] = {"kubeconfig": "k", "jws-kubeconfig-oldone": "x", "more": "y"}
    info = {"metadata": {"name": "cluster-info", "namespace": "kube-public"}, "data": data}
    secrets = [
        bootstrap("aaaaaa"),
        bootstrap("bbbbbb", **{"usage-bootstrap-signing": "false"}),
        bootstrap("cccccc", expiration=rfc3339(NOW - 1)),
        bootstrap("dddddd", expiration=rfc3339(NOW + 60)),
        bootstrap("eeeeee", **{"token-id": "ffffff"}),
    ]
    plan = BootstrapSigner().reconcile(Observed(info, secrets), NOW)
    (write,) = plan.actions
    assert isinstance(write, Update)
    assert sorted(write.object["data"]) == ["jws-kubeconfig-aaaaaa", "jws-kubeconfig-dddddd", "kubeconfig", "more"]
    assert plan.requeue_after == 61
    assert not BootstrapSigner().reconcile(Observed(write.object, secrets), NOW).actions


@pytest.mark.parametrize(
    ("expiration", "gone", "left"), [("", False, None), ("soon", True, None), (rfc3339(NOW + 5), False, 5.0)]
)
def test_tokens_go_when_they_run_out(expiration: str, gone: bool, left: float | None) -> None:
    plan = TokenCleaner().reconcile(bootstrap("aaaaaa", expiration=expiration), NOW)
    assert [type(action) for action in plan.actions] == ([Delete] if gone else [])
    assert plan.requeue_after == left
