"""A small cluster, and pods to schedule in it one after another: what a real kube-scheduler said of each is recorded in
tests/unit/scheduler/kube_scheduler.json (see tests/unit/scheduler/test_kube_scheduler_words.py)."""

from __future__ import annotations

from typing import Any

Obj = dict[str, Any]
REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"


def node(name: str, cpu: str = "4", pods: str = "10", labels: dict[str, str] | None = None, **spec: Any) -> Obj:
    room = {"cpu": cpu, "memory": "8Gi", "pods": pods}
    meta = {"name": name, "labels": {"kubernetes.io/hostname": name, **(labels or {})}}
    status = {"allocatable": room, "capacity": room, "conditions": [{"type": "Ready", "status": "True"}]}
    return {"apiVersion": "v1", "kind": "Node", "metadata": meta, "spec": spec, "status": status}


def pod(
    name: str,
    cpu: str = "",
    labels: dict[str, str] | None = None,
    ports: tuple[int, ...] = (),
    claim: str = "",
    **spec: Any,
) -> Obj:
    container: Obj = {
        "name": "c",
        "image": "x",
        "resources": {"requests": {"cpu": cpu} if cpu else {}},
        "ports": [{"containerPort": p, "hostPort": p} for p in ports],
    }
    if claim:
        spec["volumes"] = [{"name": "v", "persistentVolumeClaim": {"claimName": claim}}]
    meta = {"name": name, "namespace": "default", "labels": labels or {}}
    fixed = {"automountServiceAccountToken": False, "terminationGracePeriodSeconds": 0}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": {**fixed, "containers": [container], **spec}}


def near(kind: str, key: str, **labels: str) -> Obj:
    return {kind: {REQUIRED: [{"topologyKey": key, "labelSelector": {"matchLabels": labels}}]}}


def spread(key: str, app: str, **more: Any) -> list[Obj]:
    selector = {"matchLabels": {"app": app}}
    constraint = {"maxSkew": 1, "topologyKey": key, "whenUnsatisfiable": "DoNotSchedule", "labelSelector": selector}
    return [{**constraint, **more}]


def on_nodes(*terms: Obj) -> Obj:
    return {"nodeAffinity": {REQUIRED: {"nodeSelectorTerms": list(terms)}}}


def named(*names: str) -> Obj:
    return {"matchFields": [{"key": "metadata.name", "operator": "In", "values": list(names)}]}


def claim(name: str, storage_class: str) -> Obj:
    spec = {
        "accessModes": ["ReadWriteOnce"],
        "storageClassName": storage_class,
        "resources": {"requests": {"storage": "1Gi"}},
    }
    meta = {"name": name, "namespace": "default"}
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": meta, "spec": spec}


def storage_class(name: str, mode: str) -> Obj:
    meta = {"name": name}
    fixed = {"provisioner": "kubernetes.io/no-provisioner", "volumeBindingMode": mode}
    return {"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": meta, **fixed}


def priority(name: str, **more: Any) -> Obj:
    meta = {"name": name}
    return {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": meta, "value": 1000, **more}


HOST = "kubernetes.io/hostname"
TAINT = {"key": "ded", "value": "x", "effect": "NoSchedule"}
PRIORITIES = [priority("high"), priority("never", preemptionPolicy="Never")]
CLASSES = [storage_class("late", "WaitForFirstConsumer"), storage_class("early", "Immediate")]
CLAIMS = [claim("late", "late"), claim("early", "early")]
BUDGETS = [
    {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": "guard", "namespace": "default"},
        "spec": {"minAvailable": 1, "selector": {"matchLabels": {"guarded": "yes"}}},
    }
]
NODES = [
    node("n1", labels={"zone": "a", "disk": "ssd"}),
    node("n2", labels={"zone": "a"}),
    node("n3", cpu="2", labels={"zone": "b"}),
    node("n4", labels={"zone": "b"}, taints=[TAINT]),
    node("n5", labels={"zone": "c"}, unschedulable=True),
    node("n6"),
    node("n7", pods="1", labels={"full": "yes"}),
]
BOUND = [
    pod("b1", cpu="3", labels={"app": "web", "guarded": "yes"}, nodeName="n1"),
    pod("b2", cpu="3", labels={"app": "web"}, nodeName="n2", ports=(80,)),
    pod("b3", cpu="1500m", labels={"app": "db"}, nodeName="n3"),
    pod("b6", cpu="1", nodeName="n6", affinity=near("podAntiAffinity", HOST, app="hated")),
    pod("b7", cpu="1", nodeName="n7"),
]
PODS = [
    pod("too-large", cpu="10"),
    pod("no-room", cpu="3500m"),
    pod("no-such-label", nodeSelector={"disk": "nvme"}),
    pod("one-label-no-room", cpu="2", nodeSelector={"disk": "ssd"}),
    pod("port-free", ports=(80,), nodeSelector={"disk": "ssd"}),
    pod("port-taken", ports=(80,), nodeSelector={HOST: "n2"}),
    pod("too-many-pods", nodeSelector={"full": "yes"}),
    pod("too-many-pods-and-no-room", cpu="3500m", nodeSelector={"full": "yes"}),
    pod("near-nobody", affinity=near("podAffinity", "zone", app="nobody")),
    pod(
        "near-itself", labels={"app": "self"}, affinity=near("podAffinity", HOST, app="self"), nodeSelector={HOST: "n6"}
    ),
    pod("near-web", cpu="2", affinity=near("podAffinity", "zone", app="web")),
    pod("away-from-web", affinity=near("podAntiAffinity", "zone", app="web"), nodeSelector={"zone": "a"}),
    pod("hated", labels={"app": "hated"}, nodeSelector={HOST: "n6"}),
    pod("spread", labels={"app": "web"}, topologySpreadConstraints=spread("zone", "web"), nodeSelector={HOST: "n1"}),
    pod(
        "spread-over-all",
        labels={"app": "web"},
        topologySpreadConstraints=spread("zone", "web", nodeAffinityPolicy="Ignore"),
        nodeSelector={"zone": "a"},
    ),
    pod("spread-unlabelled", labels={"app": "web"}, topologySpreadConstraints=spread("rack", "web")),
    pod(
        "spread-domains",
        cpu="3500m",
        labels={"app": "web"},
        topologySpreadConstraints=spread("zone", "web", nodeTaintsPolicy="Honor", minDomains=9),
    ),
    pod("no-claim", claim="nope"),
    pod("unbound-claim", claim="early"),
    pod("no-volume", claim="late"),
    pod("named", cpu="3", affinity=on_nodes(named("n3"))),
    pod("named-two", affinity=on_nodes(named("n4"), named("n5"))),
    pod("named-nowhere", affinity=on_nodes(named("n99"))),
    pod("tolerates", cpu="3500m", nodeSelector={"zone": "b"}, tolerations=[{"key": "ded", "operator": "Exists"}]),
    pod("no-room-in-zone", cpu="1200m", nodeSelector={"zone": "a"}),
    pod("never-preempts", cpu="3500m", priorityClassName="never"),
    pod("high-too-large", cpu="5", priorityClassName="high"),
    pod("high-unhelped", priorityClassName="high", nodeSelector={"zone": "c"}),
    pod("high-guarded", cpu="3500m", priorityClassName="high", nodeSelector={"zone": "a"}),
    pod(
        "high-away-from-db",
        priorityClassName="high",
        affinity=near("podAntiAffinity", "zone", app="db"),
        nodeSelector={"zone": "b"},
    ),
    pod("high-full", priorityClassName="high", nodeSelector={"full": "yes"}),
]
"""Those that preempt come last: what they push out is gone for the others."""
