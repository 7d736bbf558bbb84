"""Who may do what, over thousands of cells: the authorizer against a reading of the policy that shares nothing with it."""

from __future__ import annotations

from itertools import product
from typing import Any

from tests.support.apiserver import api_server
from tests.support.requests import send

from navarch.apiserver.auth.interface import Attributes
from navarch.apiserver.auth.policy import CLUSTER_ROLE_BINDINGS, CLUSTER_ROLES, ROLE_BINDINGS, ROLES
from navarch.apiserver.request import ANONYMOUS, User
from navarch.apiserver.server import ApiServerConfig
from navarch.client.resources import NAMESPACES

AUTHENTICATED = "system:authenticated"
VERBS = ("get", "list", "watch", "create", "update", "patch", "delete", "deletecollection", "impersonate", "bind")
THINGS = (
    ("", "pods", ""), ("", "pods", "exec"), ("", "pods", "log"), ("", "pods", "status"), ("", "pods", "eviction"),
    ("", "secrets", ""), ("", "configmaps", ""), ("", "services", ""), ("", "services", "proxy"), ("", "nodes", ""),
    ("", "nodes", "proxy"), ("", "nodes", "status"), ("", "namespaces", ""), ("", "serviceaccounts", ""),
    ("", "serviceaccounts", "token"), ("", "events", ""), ("", "users", ""), ("", "persistentvolumes", ""),
    ("apps", "deployments", ""), ("apps", "deployments", "scale"), ("apps", "replicasets", "status"),
    ("batch", "jobs", ""), ("rbac.authorization.k8s.io", "roles", ""), ("coordination.k8s.io", "leases", ""),
    ("rbac.authorization.k8s.io", "clusterroles", ""), ("authorization.k8s.io", "selfsubjectaccessreviews", ""),
    ("authorization.k8s.io", "subjectaccessreviews", ""), ("certificates.k8s.io", "signers", ""),
    ("example.com", "things", ""),
)  # fmt: skip
PLACES = (("", ""), ("team", "one"), ("kube-system", "kube-scheduler"), ("other", "one"))
PATHS = ("/", "/api", "/apis/apps/v1", "/healthz", "/healthz/etcd", "/metrics", "/version", "/openapi/v3", "/debug/x")


def person(name: str, *groups: str) -> User:
    return User(name, groups=(*groups, AUTHENTICATED))


def account(namespace: str, name: str) -> User:
    groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}", AUTHENTICATED)
    return User(f"system:serviceaccount:{namespace}:{name}", groups=groups)


IDENTITIES = (
    ANONYMOUS, person("nobody"), person("root", "system:masters"), person("ada"), person("eva"), person("vic"),
    person("dev", "developers"), person("system:kube-scheduler"), person("system:kube-controller-manager"),
    person("system:kube-proxy"), person("watcher", "system:monitoring"), account("kube-system", "deployment-controller"),
    account("kube-system", "generic-garbage-collector"), account("team", "robot"), account("other", "robot"),
)  # fmt: skip


async def furnish(server: Any) -> None:
    """Namespaces, people with the usual roles in one of them, and the aggregated roles' rules."""
    client = server.system
    for name in ("team", "other"):
        await client.create(NAMESPACES, {"metadata": {"name": name}})
    roles = (await client.list(CLUSTER_ROLES)).items
    for _ in range(2):
        for role in [r for r in roles if "aggregationRule" in r]:
            wanted = [s["matchLabels"] for s in role["aggregationRule"]["clusterRoleSelectors"]]
            rules = [
                rule
                for other in roles
                for labels in wanted
                if labels.items() <= (other["metadata"].get("labels") or {}).items()
                for rule in other.get("rules") or ()
            ]
            await client.patch(CLUSTER_ROLES, role["metadata"]["name"], {"rules": rules})
        roles = (await client.list(CLUSTER_ROLES)).items
    for user, role in (("ada", "admin"), ("eva", "edit"), ("vic", "view")):
        await bind(server, "team", role, {"kind": "User", "name": user})
    await bind(server, "team", "view", {"kind": "ServiceAccount", "name": "robot"})
    rules = [
        {"apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["one"], "verbs": ["get", "delete"]},
        {"apiGroups": ["*"], "resources": ["*/scale", "*/status"], "verbs": ["patch"]},
    ]
    await client.create(ROLES, {"metadata": {"name": "narrow"}, "rules": rules}, "team")
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "narrow"}
    binding = {
        "metadata": {"name": "narrow"},
        "roleRef": reference,
        "subjects": [{"kind": "Group", "name": "developers"}],
    }
    await client.create(ROLE_BINDINGS, binding, "team")


async def bind(server: Any, namespace: str, role: str, subject: dict[str, str]) -> None:
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role}
    name = f"{role}-{subject['name']}"
    binding = {"metadata": {"name": name}, "roleRef": reference, "subjects": [subject]}
    await server.system.create(ROLE_BINDINGS, binding, namespace)


class Policy:
    """RBAC read naively: every permission that is written down, as a tuple of its own."""

    def __init__(self, roles: list[Any], bindings: list[Any]) -> None:
        self._bindings = bindings
        self._permissions: dict[tuple[str, str], set[tuple[str, ...]]] = {}
        for role in roles:
            key = (role["metadata"].get("namespace", ""), role["metadata"]["name"])
            self._permissions[key] = {
                cell
                for rule in role.get("rules") or ()
                for cell in (
                    *product(
                        rule["verbs"],
                        rule.get("apiGroups") or (),
                        rule.get("resources") or (),
                        rule.get("resourceNames") or ("<any>",),
                    ),
                    *product(rule["verbs"], rule.get("nonResourceURLs") or ()),
                )
            }

    def held(self, user: User, namespace: str) -> set[tuple[str, ...]]:
        found: set[tuple[str, ...]] = set()
        for binding in self._bindings:
            where = binding["metadata"].get("namespace", "")
            if where and where != namespace:
                continue
            if any(self._is(user, subject, where) for subject in binding.get("subjects") or ()):
                reference = binding["roleRef"]
                home = where if reference["kind"] == "Role" else ""
                found |= self._permissions.get((home, reference["name"]), set())
        return found

    @staticmethod
    def _is(user: User, subject: dict[str, str], where: str) -> bool:
        if subject["kind"] == "Group":
            return subject["name"] in user.groups
        if subject["kind"] == "User":
            return subject["name"] == user.name
        return user.name == f"system:serviceaccount:{subject.get('namespace', where)}:{subject['name']}"

    @staticmethod
    def allows(held: set[tuple[str, ...]], verb: str, thing: tuple[str, str, str], name: str) -> bool:
        group, resource, sub = thing
        resources = (f"{resource}/{sub}", f"*/{sub}", "*") if sub else (resource, "*")
        return any(cell in held for cell in product((verb, "*"), (group, "*"), resources, {name, "<any>"}))

    @staticmethod
    def allows_path(held: set[tuple[str, ...]], verb: str, path: str) -> bool:
        beginnings = [path[:end] + "*" for end in range(len(path) + 1)]
        return any(cell in held for cell in product((verb, "*"), (path, *beginnings)))


async def test_every_decision_on_a_resource_is_what_the_policy_says():
    async with api_server() as server:
        await furnish(server)
        policy = await read_policy(server)
        cells = allowed = 0
        for user, (namespace, name) in product(IDENTITIES, PLACES):
            held = policy.held(user, namespace)
            for verb, thing in product(VERBS, THINGS):
                asked = Attributes(user, verb, True, "", thing[0], "v1", *thing[1:], namespace, name)
                expected = "system:masters" in user.groups or policy.allows(held, verb, thing, name)
                assert server.decide(asked).allowed is expected, asked
                assert server.decide(asked).allowed is expected, "remembered"
                cells += 1
                allowed += expected
        assert cells > 10_000 and 1_000 < allowed < cells / 2


async def test_every_decision_on_a_path_is_what_the_policy_says():
    async with api_server() as server:
        policy = await read_policy(server)
        for user, verb, path in product(IDENTITIES, ("get", "head", "post"), PATHS):
            expected = "system:masters" in user.groups or policy.allows_path(policy.held(user, ""), verb, path)
            assert server.decide(Attributes(user, verb, False, path)).allowed is expected, (user.name, verb, path)


async def read_policy(server: Any) -> Policy:
    found = {r.plural: (await server.system.list(r)).items for r in (ROLES, CLUSTER_ROLES)}
    bound = [(await server.system.list(r)).items for r in (ROLE_BINDINGS, CLUSTER_ROLE_BINDINGS)]
    return Policy([*found["roles"], *found["clusterroles"]], [*bound[0], *bound[1]])


async def test_what_people_expect_of_the_usual_roles():
    async with api_server() as server:
        await furnish(server)

        def may(user: User, verb: str, resource: str, namespace: str = "team", group: str = "") -> bool:
            resource, _, sub = resource.partition("/")
            return server.decide(Attributes(user, verb, True, "", group, "v1", resource, sub, namespace, "x")).allowed

        ada, eva, vic = person("ada"), person("eva"), person("vic")
        assert may(vic, "get", "pods") and may(vic, "list", "configmaps") and not may(vic, "get", "secrets")
        assert (
            not may(vic, "get", "pods", "other") and not may(vic, "list", "pods", "") and not may(vic, "create", "pods")
        )
        assert may(eva, "get", "secrets") and may(eva, "delete", "deployments", group="apps")
        assert not may(eva, "create", "roles", group="rbac.authorization.k8s.io")
        assert may(ada, "create", "roles", group="rbac.authorization.k8s.io")
        assert not may(ada, "update", "namespaces") and not may(ada, "create", "resourcequotas")
        assert not may(person("nobody"), "get", "pods") and not may(ANONYMOUS, "get", "pods")
        assert not may(person("x", "system:nodes"), "get", "nodes")


async def test_a_change_of_policy_counts_at_once():
    async with api_server() as server:
        await furnish(server)
        asked = Attributes(person("dev", "developers"), "get", True, "", "", "v1", "configmaps", "", "team", "one")
        assert server.decide(asked).allowed
        await server.system.patch(ROLES, "narrow", {"rules": []}, "team")
        assert not server.decide(asked).allowed
        await server.system.delete(ROLES, "narrow", "team")
        assert 'role.rbac.authorization.k8s.io "narrow" not found' in server.decide(asked).reason
        await bind(server, "team", "cluster-admin", {"kind": "Group", "name": "developers"})
        found = server.decide(asked)
        assert found.allowed and found.reason == (
            'RBAC: allowed by RoleBinding "cluster-admin-developers/team" of ClusterRole "cluster-admin" to Group '
            '"developers"'
        )
        await server.system.delete(ROLE_BINDINGS, "cluster-admin-developers", "team")
        assert not server.decide(asked).allowed


async def test_commands_in_containers_take_create_also_when_a_websocket_begins_with_a_get():
    config = ApiServerConfig(fixed_tokens={"get": User("get"), "both": User("both")})
    async with api_server(config=config) as server:
        await server.system.create(NAMESPACES, {"metadata": {"name": "team"}})
        for name, verbs in (("get", ["get"]), ("both", ["get", "create"])):
            rules = [{"apiGroups": [""], "resources": ["pods/exec"], "verbs": verbs}]
            await server.system.create(CLUSTER_ROLES, {"metadata": {"name": name}, "rules": rules})
            await bind(server, "team", name, {"kind": "User", "name": name})
        path = "/api/v1/namespaces/team/pods/x/exec?command=ls&stdout=1"
        assert (await send(server, "GET", path, token="get"))[0] == 403
        assert (await send(server, "GET", path, token="both"))[0] == 404  # it is looked for: authorization let it pass
