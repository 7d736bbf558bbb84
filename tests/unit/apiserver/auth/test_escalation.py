"""Nobody grants more than they hold."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.apiserver import api_server

from navarch.apiserver.auth.policy import CLUSTER_ROLE_BINDINGS, CLUSTER_ROLES, ROLE_BINDINGS, ROLES
from navarch.apiserver.request import User
from navarch.machinery.errors import StatusError

GROUP = "rbac.authorization.k8s.io"
PAM = User("pam", groups=("staff", "system:authenticated"))


def rule(verbs: str, resources: str, group: str = "", names: str = "") -> dict[str, Any]:
    made: dict[str, Any] = {"apiGroups": [group], "resources": resources.split(), "verbs": verbs.split()}
    return {**made, "resourceNames": names.split()} if names else made


def role(name: str, *rules: dict[str, Any]) -> dict[str, Any]:
    return {"metadata": {"name": name}, "rules": list(rules)}


def binding(name: str, kind: str, role_name: str, user: str = "someone") -> dict[str, Any]:
    reference = {"apiGroup": GROUP, "kind": kind, "name": role_name}
    return {"metadata": {"name": name}, "roleRef": reference, "subjects": [{"kind": "User", "name": user}]}


async def give_pam(server: Any, *rules: dict[str, Any]) -> Any:
    """A client of a user who manages policy everywhere, and holds `rules`."""
    manages = rule("create update patch get", "roles rolebindings clusterroles clusterrolebindings", GROUP)
    await server.system.create(CLUSTER_ROLES, role("pam", manages, *rules))
    await server.system.create(CLUSTER_ROLE_BINDINGS, binding("pam", "ClusterRole", "pam", "pam"))
    return server.client(PAM)


async def refused(doing: Any) -> StatusError:
    with pytest.raises(StatusError) as caught:
        await doing
    return caught.value


async def test_a_role_with_what_its_maker_lacks_is_refused_and_says_what_lacks():
    async with api_server() as server:
        pam = await give_pam(server, rule("get list", "pods"))
        await pam.create(ROLES, role("fine", rule("get", "pods")), "default")
        wanted = role("more", rule("get delete", "pods secrets"), rule("get", "configmaps", names="a"))
        error = await refused(pam.create(ROLES, wanted, "default"))
        assert (error.code, error.reason) == (403, "Forbidden")
        assert error.message == (
            'roles.rbac.authorization.k8s.io "more" is forbidden: user "pam" (groups=["staff" "system:authenticated"]) is '
            "attempting to grant RBAC permissions not currently held:\n"
            '{APIGroups:[""], Resources:["configmaps"], ResourceNames:["a"], Verbs:["get"]}\n'
            '{APIGroups:[""], Resources:["pods"], Verbs:["delete"]}\n'
            '{APIGroups:[""], Resources:["secrets"], Verbs:["get" "delete"]}'
        )


async def test_an_update_is_checked_like_a_create_and_harmless_changes_pass():
    async with api_server() as server:
        pam = await give_pam(server, rule("get", "pods"))
        await server.system.create(ROLES, role("big", rule("*", "secrets")), "default")
        await pam.patch(ROLES, "big", {"metadata": {"finalizers": ["example.com/x"]}}, "default")
        assert (await refused(pam.patch(ROLES, "big", {"metadata": {"labels": {"a": "b"}}}, "default"))).code == 403
        await pam.update(ROLES, role("big", rule("get", "pods")), "default")
        made_by_put = role("new", rule("delete", "pods"))
        assert (await refused(pam.update(ROLES, made_by_put, "default"))).code == 403


async def test_covering_knows_stars_subresources_names_and_paths():
    async with api_server() as server:
        urls = {"nonResourceURLs": ["/logs/*", "/healthz"], "verbs": ["get"]}
        pam = await give_pam(
            server, rule("*", "*/scale"), rule("get", "services", names="one two"), rule("get", "*", "apps"), urls
        )
        fine = (
            rule("patch", "deployments/scale"),
            rule("get", "services", names="two"),
            rule("get", "deployments/status deployments", "apps"),
            {"nonResourceURLs": ["/logs/kubelet", "/logs/*", "/healthz"], "verbs": ["get"]},
        )
        for number, one in enumerate(fine):
            await pam.create(CLUSTER_ROLES, role(f"fine{number}", one))
        bad = (
            rule("get", "services"),
            rule("get", "services", names="one three"),
            rule("get", "scale"),
            rule("get", "deployments", "*"),
            rule("*", "deployments", "apps"),
            {"nonResourceURLs": ["/logs"], "verbs": ["get"]},
            {"nonResourceURLs": ["/healthz/*"], "verbs": ["get"]},
        )
        for number, one in enumerate(bad):
            assert (await refused(pam.create(CLUSTER_ROLES, role(f"bad{number}", one)))).code == 403, one


async def test_escalate_lets_roles_pass_and_bind_lets_bindings_pass():
    async with api_server() as server:
        pam = await give_pam(server, rule("escalate", "roles", GROUP), rule("bind", "clusterroles", GROUP, "edit"))
        await pam.create(ROLES, role("any", rule("*", "secrets")), "default")
        assert (await refused(pam.create(CLUSTER_ROLES, role("any", rule("*", "secrets"))))).code == 403
        await server.system.patch(CLUSTER_ROLES, "edit", {"rules": [rule("*", "secrets")]})
        await pam.create(ROLE_BINDINGS, binding("b", "ClusterRole", "edit"), "default")
        error = await refused(pam.create(ROLE_BINDINGS, binding("c", "ClusterRole", "cluster-admin"), "default"))
        assert error.message.endswith(
            'not currently held:\n{APIGroups:["*"], Resources:["*"], Verbs:["*"]}\n{NonResourceURLs:["*"], Verbs:["*"]}'
        )


async def test_a_binding_needs_the_roles_permissions_where_it_binds():
    async with api_server() as server:
        pam = await give_pam(server)
        await server.system.create(ROLES, role("reader", rule("get", "pods")), "default")
        assert (await refused(pam.create(ROLE_BINDINGS, binding("r", "Role", "reader"), "default"))).code == 403
        await server.system.create(ROLE_BINDINGS, binding("pam", "Role", "reader", "pam"), "default")
        await pam.create(ROLE_BINDINGS, binding("r", "Role", "reader"), "default")
        missing = await refused(pam.create(ROLE_BINDINGS, binding("s", "Role", "nothing"), "default"))
        assert (missing.code, missing.message) == (404, 'rolebindings.rbac.authorization.k8s.io "nothing" not found')


async def test_aggregation_needs_everything():
    async with api_server() as server:
        pam = await give_pam(server, rule("get", "pods"))
        wanted = {**role("sum"), "aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {"a": "b"}}]}}
        error = await refused(pam.create(CLUSTER_ROLES, wanted))
        assert error.message.endswith("must have cluster-admin privileges to use the aggregationRule")
        assert (await refused(pam.patch(CLUSTER_ROLES, "view", {"rules": [rule("get", "pods")]}))).code == 403


async def test_rules_that_multiply_beyond_measure_are_refused():
    async with api_server() as server:
        pam = await give_pam(server, rule("get", "pods"))
        many = " ".join(f"x{i}" for i in range(1000))
        assert "at most" in (await refused(pam.create(ROLES, role("huge", rule(many, many)), "default"))).message
