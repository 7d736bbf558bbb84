"""navarch simulate scheduling: where pods of files would go."""

from __future__ import annotations

from pathlib import Path

import orjson
from click.testing import CliRunner, Result

from navarch.cli.simulate import command

NODES = """
apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: Node, metadata: {name: a, labels: {zone: east}}, status: {allocatable: {cpu: "4", memory: 8Gi, pods: "10"}}}
- {apiVersion: v1, kind: Node, metadata: {name: b, labels: {zone: west}}, status: {allocatable: {cpu: "4", memory: 8Gi, pods: "10"}}}
"""

WEB = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 4
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - {name: c, image: nginx, resources: {requests: {cpu: 500m, memory: 1Gi}}}
"""


def simulate(folder: Path, pods: str, *options: str, nodes: str = NODES) -> Result:
    (folder / "pods.yaml").write_text(pods)
    (folder / "nodes.yaml").write_text(nodes)
    arguments = ["scheduling", "-f", str(folder / "pods.yaml"), "--nodes", str(folder / "nodes.yaml"), *options]
    return CliRunner().invoke(command, arguments)


def spread(result: Result) -> list[int]:
    """Pods by node, the fullest first."""
    assert result.exit_code in (0, 1), result.output
    return sorted((use["pods"] for use in orjson.loads(result.output)["nodes"]), reverse=True)


def test_replicas_spread_or_pack(tmp_path: Path) -> None:
    assert spread(simulate(tmp_path, WEB, "-o", "json")) == [2, 2]
    assert spread(simulate(tmp_path, WEB, "-o", "json", "--strategy", "pack")) == [4, 0]


def test_what_is_used_and_what_does_not_fit_is_told(tmp_path: Path) -> None:
    found = simulate(tmp_path, WEB.replace("500m", "3"))
    assert found.exit_code == 1
    assert "no place for default/web-2, default/web-3: 0/2 nodes are available: 2 Insufficient cpu." in found.output
    assert "if it requested 1 of cpu instead of 3" in found.output
    assert "2 of 4 pods fit, on 2 of 2 nodes" in found.output
    assert [line.split() for line in found.output.splitlines() if line.startswith("all")] == [
        ["all", "2", "75%", "12%"]
    ]


def test_the_more_important_push_out_the_less_important(tmp_path: Path) -> None:
    classes = "apiVersion: scheduling.k8s.io/v1\nkind: PriorityClass\nmetadata: {name: high}\nvalue: 1000\n---\n"
    there = """
apiVersion: v1
kind: Pod
metadata: {name: there}
spec: {nodeName: a, containers: [{name: c, image: x, resources: {requests: {cpu: "3"}}}]}
---
"""
    urgent = (
        WEB.replace("replicas: 4", "replicas: 2")
        .replace("500m", "3")
        .replace("    spec:\n", "    spec:\n      priorityClassName: high\n", 1)
    )
    found = simulate(tmp_path, classes + there + urgent)
    assert "default/web-0 ->" in found.output and "default/web-1 ->" in found.output
    assert "pushed out by more important pods: default/there" in found.output
    assert "no place for default/there" in found.output


def test_daemons_stateful_sets_and_claims(tmp_path: Path) -> None:
    volumes = "".join(
        f"""
apiVersion: v1
kind: PersistentVolume
metadata: {{name: v{node}}}
spec:
  capacity: {{storage: 1Gi}}
  accessModes: [ReadWriteOnce]
  storageClassName: late
  local: {{path: /mnt}}
  nodeAffinity: {{required: {{nodeSelectorTerms: [{{matchExpressions: [{{key: zone, operator: In, values: [{zone}]}}]}}]}}}}
---
"""
        for node, zone in (("a", "east"), ("b", "west"))
    )
    manifest = f"""
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: {{name: late}}
provisioner: kubernetes.io/no-provisioner
volumeBindingMode: WaitForFirstConsumer
---{volumes}
apiVersion: apps/v1
kind: StatefulSet
metadata: {{name: db}}
spec:
  replicas: 3
  selector: {{matchLabels: {{app: db}}}}
  template:
    metadata: {{labels: {{app: db}}}}
    spec: {{containers: [{{name: c, image: x}}]}}
  volumeClaimTemplates:
  - metadata: {{name: data}}
    spec: {{accessModes: [ReadWriteOnce], storageClassName: late, resources: {{requests: {{storage: 1Gi}}}}}}
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {{name: agent}}
spec:
  selector: {{matchLabels: {{app: agent}}}}
  template:
    metadata: {{labels: {{app: agent}}}}
    spec: {{containers: [{{name: c, image: x}}]}}
"""
    found = orjson.loads(simulate(tmp_path, manifest, "-o", "json").output)
    where = {placed["pod"].removeprefix("default/"): placed["node"] for placed in found["placed"]}
    assert (where["agent-a"], where["agent-b"]) == ("a", "b")
    assert sorted(where[f"db-{index}"] for index in range(3)) == ["", "a", "b"]


def test_files_that_are_wrong_are_refused(tmp_path: Path) -> None:
    found = simulate(tmp_path, WEB.replace("replicas", "replicsa"))
    assert found.exit_code == 1
    assert "pods.yaml" in found.output and "replicsa" in found.output
    assert 'no kind "Nope"' in simulate(tmp_path, "apiVersion: v1\nkind: Nope\n").output


def test_a_gang_is_placed_whole_or_not_at_all(tmp_path: Path) -> None:
    group = """
apiVersion: scheduling.k8s.io/v1alpha2
kind: PodGroup
metadata: {name: train}
spec: {schedulingPolicy: {gang: {minCount: 4}}}
---
"""
    job = """
apiVersion: batch/v1
kind: Job
metadata: {name: train}
spec:
  completions: 4
  parallelism: 4
  template:
    spec:
      restartPolicy: Never
      schedulingGroup: {podGroupName: train}
      containers:
      - {name: c, image: x, resources: {requests: {cpu: "2"}}}
"""
    assert spread(simulate(tmp_path, group + job, "-o", "json")) == [2, 2]
    result = simulate(tmp_path, group + job.replace('cpu: "2"', 'cpu: "3"'))
    assert result.exit_code == 1
    assert "pod group is unschedulable, waiting for minCount pods from a gang to be scheduled" in result.output
    assert spread(simulate(tmp_path, group + job.replace('cpu: "2"', 'cpu: "3"'), "-o", "json")) == [0, 0]
    assert "waiting for pods's pod group" in simulate(tmp_path, job).output
