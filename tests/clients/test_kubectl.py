"""What people do with kubectl, with releases of it from 1.27 to 1.37."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Generator
from typing import Any

import pytest
from tests.support import kubectls
from tests.support.harness import BIN
from tests.support.processes import Processes

pytestmark = pytest.mark.slow

VERSIONS = {"1.27": "kubectl-1.27", "1.32": "kubectl-1.32", "1.37": "kubectl"}
MAP = """
apiVersion: v1
kind: ConfigMap
metadata: {name: settings, labels: {app: web}}
data: {colour: %s}
"""


class Kubectl:
    """One release of kubectl, in one namespace."""

    def __init__(self, server: Processes, program: str, namespace: str) -> None:
        self.server, self.program, self.namespace = server, str(BIN / program), namespace

    def __call__(self, *words: str, check: bool = True, input: str | None = None) -> str:
        return self.server.kubectl(*words, "-n", self.namespace, check=check, input=input, program=self.program)

    def field(self, path: str, *what: str) -> str:
        return self("get", *what, "-o", f"jsonpath={{{path}}}")


@pytest.fixture(params=VERSIONS)
def kubectl(request: pytest.FixtureRequest, server: Processes, nodes: None, namespace: str) -> Kubectl:
    if not kubectls.HERE and request.param != "1.37":
        pytest.skip("not for this machine")
    return Kubectl(server, VERSIONS[request.param], namespace)


def test_discovery_and_explain(kubectl: Kubectl) -> None:
    assert "v1.36.0" in kubectl("version", "-o", "json")
    resources = kubectl("api-resources")
    assert "deployments" in resources and "PodDisruptionBudget" in resources
    assert "networking.k8s.io/v1" in kubectl("api-versions")
    text = kubectl("explain", "deployment.spec.strategy.rollingUpdate")
    assert "maxSurge" in text and "IntOrString" in text
    assert "FIELDS:" in kubectl("explain", "pod.spec.containers", "--recursive")
    assert kubectl("auth", "can-i", "create", "pods").strip() == "yes"
    assert kubectl("auth", "can-i", "create", "pods", "--as", "nobody", check=False).strip().startswith("no")


def test_apply_diff_edit_patch(kubectl: Kubectl) -> None:
    assert "created" in kubectl("apply", "-f", "-", input=MAP % "red")
    assert "unchanged" in kubectl("apply", "-f", "-", input=MAP % "red")
    difference = kubectl("diff", "-f", "-", input=MAP % "blue", check=False)
    assert "-  colour: red" in difference and "+  colour: blue" in difference
    assert "configured" in kubectl("apply", "-f", "-", input=MAP % "blue")
    assert "serverside-applied" in kubectl(
        "apply", "--server-side", "--force-conflicts", "-f", "-", input=MAP % "green"
    )
    conflict = kubectl("apply", "--server-side", "--field-manager=another", "-f", "-", input=MAP % "grey", check=False)
    assert 'conflict with "kubectl": .data.colour' in conflict
    os.environ["KUBE_EDITOR"] = "sed -i s/green/black/"
    try:
        assert "edited" in kubectl("edit", "configmap", "settings")
    finally:
        del os.environ["KUBE_EDITOR"]
    for kind, body in {
        "merge": '{"data":{"a":"1"}}',
        "strategic": '{"data":{"b":"2"}}',
        "json": '[{"op":"remove","path":"/data/a"}]',
    }.items():
        kubectl("patch", "configmap", "settings", "--type", kind, "-p", body)
    assert json.loads(kubectl.field(".data", "configmap", "settings")) == {"colour": "black", "b": "2"}
    assert "labeled" in kubectl("label", "configmap", "settings", "tier=back")
    assert "annotate" in kubectl("annotate", "configmap", "settings", "note=x")
    assert "settings" in kubectl("get", "configmaps", "-l", "tier=back,app in (web)", "-o", "name")
    assert "replaced" in kubectl("replace", "-f", "-", input=MAP % "white")
    assert "deleted" in kubectl("delete", "configmap", "settings")
    assert 'configmaps "settings" not found' in kubectl("get", "configmap", "settings", check=False)


def test_a_deployment_from_create_to_delete(kubectl: Kubectl) -> None:
    assert "created" in kubectl("create", "deployment", "web", "--image=nginx:1", "--replicas=2")
    assert "successfully rolled out" in kubectl("rollout", "status", "deployment/web", "--timeout=60s")
    assert "condition met" in kubectl("wait", "--for=condition=Available", "deployment/web", "--timeout=60s")
    assert "exposed" in kubectl("expose", "deployment", "web", "--port=80")
    kubectl("scale", "deployment/web", "--replicas=3")
    kubectl("wait", "--for=jsonpath={.status.readyReplicas}=3", "deployment/web", "--timeout=60s")
    kubectl("set", "image", "deployment/web", "nginx=nginx:2")
    kubectl("rollout", "status", "deployment/web", "--timeout=60s")
    assert "2         <none>" in kubectl("rollout", "history", "deployment/web")
    assert "rolled back" in kubectl("rollout", "undo", "deployment/web")
    kubectl("rollout", "status", "deployment/web", "--timeout=60s")
    assert kubectl.field(".spec.template.spec.containers[0].image", "deployment", "web") == "nginx:1"
    assert "restarted" in kubectl("rollout", "restart", "deployment/web")
    kubectl("rollout", "status", "deployment/web", "--timeout=60s")
    table = kubectl("get", "all", "-o", "wide").splitlines()
    assert any(line.startswith("deployment.apps/web") and "3/3" in line for line in table)
    described = kubectl("describe", "deployment", "web")
    assert "ScalingReplicaSet" in described and "3 desired | 3 updated | 3 total | 3 available" in described
    assert "Running" in kubectl("get", "pods", "--field-selector=status.phase=Running")
    assert "deleted" in kubectl("delete", "deployment", "web")
    kubectl("wait", "--for=delete", "pod", "-l", "app=web", "--timeout=60s")


def test_create_every_other_thing(kubectl: Kubectl) -> None:
    """Generators encode what they make as protobuf or JSON, as the release has it."""
    made = {
        ("configmap", "c", "--from-literal=a=b"): "configmap/c",
        ("secret", "generic", "s", "--from-literal=a=b"): "secret/s",
        ("service", "clusterip", "svc", "--tcp=80:80"): "service/svc",
        ("serviceaccount", "robot"): "serviceaccount/robot",
        ("role", "reader", "--verb=get", "--resource=pods"): "role.rbac.authorization.k8s.io/reader",
        ("rolebinding", "read", "--role=reader", "--user=jane"): "rolebinding.rbac.authorization.k8s.io/read",
        ("job", "once", "--image=x"): "job.batch/once",
        ("cronjob", "often", "--image=x", "--schedule=* * * * *"): "cronjob.batch/often",
        ("ingress", "in", "--rule=a.example/*=svc:80"): "ingress.networking.k8s.io/in",
        ("poddisruptionbudget", "pdb", "--selector=a=b", "--min-available=1"): "poddisruptionbudget.policy/pdb",
        ("quota", "q", "--hard=pods=10"): "resourcequota/q",
    }
    for words, name in made.items():
        assert f"{name} created" in kubectl("create", *words)
        again = kubectl("create", *words, check=False)
        assert "already exists" in again
    assert kubectl("create", "token", "robot").count(".") == 2
    assert kubectl("auth", "can-i", "get", "pods", "--as", "jane").strip() == "yes"
    kubectl("run", "one", "--image=nginx")
    kubectl("wait", "--for=condition=Ready", "pod/one", "--timeout=60s")
    assert "pod/one" in kubectl("get", "pods,services", "-o", "name")
    assert "Scheduled" in kubectl("get", "events", "--field-selector=involvedObject.name=one")
    assert "NAME   STATUS" not in kubectl("top", "pods", check=False)


def test_watch_tells_what_happens(kubectl: Kubectl) -> None:
    environment = {**os.environ, "KUBECONFIG": str(kubectl.server.kubeconfig), "HOME": str(kubectl.server.directory)}
    words = [kubectl.program, "get", "configmaps", "-n", kubectl.namespace, "-w", "--output-watch-events", "-o", "json"]
    with subprocess.Popen([*words], stdout=subprocess.PIPE, text=True, env=environment) as watching:
        assert watching.stdout
        seen = _events(watching.stdout)
        try:
            kubectl("create", "configmap", "one")
            kubectl("label", "configmap", "one", "a=b")
            kubectl("delete", "configmap", "one")
            told = [event["type"] for event in seen if event["object"]["metadata"]["name"] == "one"]
            assert told == ["ADDED", "MODIFIED", "DELETED"]
        finally:
            watching.kill()


def _events(lines: Any) -> Generator[Any]:
    """Watch events, until one of a deletion."""
    decoder, text = json.JSONDecoder(), ""
    for line in lines:
        text += line
        try:
            event, _ = decoder.raw_decode(text.lstrip())
        except ValueError:
            continue
        text = ""
        yield event
        if event["type"] == "DELETED":
            return


def test_what_goes_wrong_is_said(kubectl: Kubectl) -> None:
    assert 'Error from server (NotFound): pods "nope" not found' in kubectl("get", "pod", "nope", check=False)
    assert "the server doesn't have a resource type" in kubectl("get", "unicorns", check=False)
    unknown = kubectl("apply", "-f", "-", input=(MAP + "dota: {}") % "x", check=False)
    assert 'unknown field "dota"' in unknown
    invalid = kubectl("create", "configmap", "Upper_Case", check=False)
    assert "Invalid value" in invalid and "RFC 1123 subdomain" in invalid
    forbidden = kubectl("get", "secrets", "--as", "nobody", check=False)
    assert 'secrets is forbidden: User "nobody" cannot list resource "secrets" in API group ""' in forbidden


LOOSE = """
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: %(plural)s.loose.example.com}
spec:
  group: loose.example.com
  scope: Namespaced
  names: {plural: %(plural)s, kind: %(kind)s}
  versions:
  - name: v1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
"""


def test_lists_of_objects_without_a_schema(kubectl: Kubectl) -> None:
    """kubectl checks a List by itself, against version 2 of the schemas."""
    kind = "Loose" + "".join(filter(str.isdigit, kubectl.namespace))
    names = {"plural": kind.lower(), "kind": kind}
    kubectl("apply", "-f", "-", input=LOOSE % names)
    try:
        kubectl("wait", "--for=condition=Established", f"crd/{kind.lower()}.loose.example.com", "--timeout=20s")
        item = {"apiVersion": "loose.example.com/v1", "kind": kind, "metadata": {"name": "a"}, "anything": {"goes": 1}}
        listed = json.dumps({"apiVersion": "v1", "kind": "List", "items": [item]})
        assert f"{kind.lower()}.loose.example.com/a created" in kubectl("apply", "-f", "-", input=listed)
    finally:
        kubectl("delete", "crd", f"{kind.lower()}.loose.example.com")


def test_an_address_changes_by_force_only(kubectl: Kubectl) -> None:
    service = "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {selector: {a: b}, clusterIP: %s, ports: [{port: 80}]}"
    kubectl("apply", "-f", "-", input=service % "None")
    kubectl("apply", "-f", "-", input=service.replace("name: a", "name: b") % '""')
    address = kubectl.field(".spec.clusterIP", "service", "b")
    kubectl("delete", "service", "b")
    assert "may not change once set" in kubectl("apply", "-f", "-", input=service % address, check=False)
    kubectl("apply", "--force", "-f", "-", input=service % address)
    assert kubectl.field(".spec.clusterIPs[0]", "service", "a") == address
