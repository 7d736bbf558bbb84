"""Acting as somebody else."""

from __future__ import annotations

from typing import Any

from tests.support.apiserver import api_server
from tests.support.requests import send

from navarch.apiserver.auth.policy import CLUSTER_ROLE_BINDINGS, CLUSTER_ROLES
from navarch.apiserver.request import User
from navarch.apiserver.server import ApiServerConfig

WHOAMI = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
CONFIG = ApiServerConfig(
    fixed_tokens={"admin": User("admin", groups=("system:masters",)), "pat": User("pat", groups=("staff",))}
)


async def act(server: Any, token: str, **headers: str) -> Any:
    sent = {f"impersonate-{key.replace('_', '-')}": value for key, value in headers.items()}
    code, answer = await send(server, "POST", WHOAMI, {}, token=token, headers=sent)
    return answer["status"]["userInfo"] if code == 201 else (code, answer["message"])


async def give_pat(server: Any, *rules: tuple[str, str, str, str]) -> None:
    """Rules as (verb, group, resources, names)."""
    made = [
        {"verbs": verb.split(), "apiGroups": [group], "resources": resources.split()}
        | ({"resourceNames": names.split()} if names else {})
        for verb, group, resources, names in rules
    ]
    await server.system.create(CLUSTER_ROLES, {"metadata": {"name": "pat"}, "rules": made})
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "pat"}
    subjects = [{"kind": "User", "name": "pat"}]
    await server.system.create(
        CLUSTER_ROLE_BINDINGS, {"metadata": {"name": "pat"}, "roleRef": reference, "subjects": subjects}
    )


async def test_masters_may_act_as_anybody_with_every_part():
    async with api_server(config=CONFIG) as server:
        found = await act(server, "admin", user="ann", group="a, b", uid="7", **{"extra_acme.com%2fscopes": "x, y"})
        assert found == {
            "username": "ann", "uid": "7", "groups": ["a", "b", "system:authenticated"], "extra": {"acme.com/scopes": ["x", "y"]},
        }  # fmt: skip
        found = await act(server, "admin", user="system:serviceaccount:default:robot")
        assert found["groups"] == ["system:serviceaccounts", "system:serviceaccounts:default", "system:authenticated"]
        code, answer = await send(
            server, "GET", "/api/v1/pods", token="admin", headers={"impersonate-user": "system:anonymous"}
        )
        assert code == 403 and 'User "system:anonymous"' in answer["message"]


async def test_who_may_not_is_told_so():
    async with api_server(config=CONFIG) as server:
        code, message = await act(server, "pat", user="ann")
        assert code == 403
        assert message == (
            'selfsubjectreviews.authentication.k8s.io is forbidden: User "pat" cannot impersonate-on:user-info:create '
            'resource "selfsubjectreviews" in API group "authentication.k8s.io" at the cluster scope'
        )
        assert (await act(server, "pat", group="system:masters"))[0] == 400


async def test_the_legacy_verb_covers_each_part_by_itself():
    async with api_server(config=CONFIG) as server:
        await give_pat(
            server,
            ("impersonate", "", "users", "ann"),
            ("impersonate", "", "groups", "a"),
            ("impersonate", "authentication.k8s.io", "userextras/acme.com/scopes", "x"),
        )
        assert (await act(server, "pat", user="ann", group="a"))["username"] == "ann"
        assert (await act(server, "pat", user="bob"))[0] == 403
        assert (await act(server, "pat", user="ann", group="a, system:masters"))[0] == 403
        assert (await act(server, "pat", user="ann", uid="7"))[0] == 403
        assert (await act(server, "pat", user="system:serviceaccount:default:robot"))[0] == 403
        assert (await act(server, "pat", user="ann", **{"extra_acme.com%2fscopes": "x"}))["extra"]
        assert (await act(server, "pat", user="ann", **{"extra_acme.com%2fscopes": "y"}))[0] == 403


async def test_constrained_impersonation_needs_the_action_and_the_user():
    async with api_server(config=CONFIG) as server:
        on = "impersonate-on:user-info:create", "authentication.k8s.io", "selfsubjectreviews", ""
        be = "impersonate:user-info", "authentication.k8s.io", "users groups", "ann a system:masters"
        account = "impersonate:serviceaccount", "authentication.k8s.io", "serviceaccounts", "robot"
        node = "impersonate:arbitrary-node", "authentication.k8s.io", "nodes", "n1"
        await give_pat(server, on, be, account, node)
        assert (await act(server, "pat", user="ann", group="a"))["groups"] == ["a", "system:authenticated"]
        code, message = await act(server, "pat", user="ann", group="system:masters")
        assert code == 403 and "impersonating the system:masters group is not allowed" in message
        headers = {"impersonate-user": "ann"}
        code, answer = await send(server, "GET", "/api/v1/pods", token="pat", headers=headers)
        assert code == 403 and "impersonate-on:user-info:list" in answer["message"]
        assert (await act(server, "pat", user="system:serviceaccount:default:robot"))[0] == 403


async def test_a_node_agent_may_act_as_its_own_node_only():
    async with api_server() as server:
        from navarch.apiserver.auth.interface import Attributes, Decision
        from navarch.apiserver.filters.impersonation import impersonated

        extra = (("authentication.kubernetes.io/node-name", ("n1",)),)
        agent = User("system:serviceaccount:kube-system:agent", groups=("system:authenticated",), extra=extra)
        allowed = {"impersonate-on:associated-node:list", "impersonate:associated-node"}

        def decide(asked: Attributes) -> Decision:
            if asked.verb == "impersonate:associated-node":
                assert (asked.resource, asked.name) == ("nodes", "*")
            return Decision(asked.verb in allowed)

        asked = Attributes(agent, "list", True, "", "", "v1", "pods")
        found = impersonated(asked, User("system:node:n1"), decide)
        assert found.user.groups == ("system:nodes", "system:authenticated")
        assert found.constraint == "impersonate:associated-node"
        try:
            impersonated(asked, User("system:node:n2"), decide)
        except Exception as err:
            assert "impersonate-on:arbitrary-node:list" in str(err)
        else:
            raise AssertionError("another node")
        assert server.started
