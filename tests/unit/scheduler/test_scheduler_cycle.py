"""Where pods go, and what is said when they go nowhere."""

from __future__ import annotations

import random
from typing import Any

from navarch.scheduler.cycle import Cycle, Decision
from navarch.scheduler.nodes import Nodes
from navarch.scheduler.podinfo import PodInfo, pod_requests


def node(name: str, *, cpu: str = "4", memory: str = "8Gi", pods: str = "110", **spec: Any) -> dict[str, Any]:
    labels = {"kubernetes.io/hostname": name, **spec.pop("labels", {})}
    return {
        "metadata": {"name": name, "labels": labels},
        "spec": spec,
        "status": {"allocatable": {"cpu": cpu, "memory": memory, "pods": pods}},
    }


def pod(name: str = "p", *, cpu: str = "", memory: str = "", ports: tuple[int, ...] = (), **spec: Any) -> PodInfo:
    requests = {k: v for k, v in (("cpu", cpu), ("memory", memory)) if v}
    container = {
        "name": "c",
        "resources": {"requests": requests},
        "ports": [{"containerPort": p, "hostPort": p, "protocol": "TCP"} for p in ports],
    }
    meta = {"name": name, "namespace": "default", "uid": name}
    return PodInfo.of({"metadata": meta, "spec": {"containers": [container], **spec}})


def cycle(*nodes: dict[str, Any]) -> Cycle:
    table = Nodes()
    for one in nodes:
        table.set_node(one)
    return Cycle(table, random.Random(1))


def place(on: Cycle, info: PodInfo) -> Decision:
    decision = on.decide(info)
    if decision.node:
        on.nodes.set_pod(info, decision.node)
    return decision


def test_pods_spread_over_equal_nodes() -> None:
    on = cycle(*(node(f"n{i}") for i in range(4)))
    chosen = [place(on, pod(f"p{i}", cpu="500m", memory="512Mi")).node for i in range(8)]
    assert sorted(chosen) == sorted([f"n{i}" for i in range(4)] * 2)


def test_a_pod_that_requests_too_much_is_told_so_in_upstream_words() -> None:
    on = cycle(node("a", cpu="1"), node("b", cpu="2", memory="1Gi"))
    assert on.decide(pod(cpu="3", memory="2Gi")).message == (
        "0/2 nodes are available: 1 Insufficient memory, 2 Insufficient cpu."
    )


def test_taints_keep_pods_out_unless_tolerated() -> None:
    taint = {"key": "dedicated", "value": "db", "effect": "NoSchedule"}
    on = cycle(node("a", taints=[taint]))
    assert "1 node(s) had untolerated taint(s)" in on.decide(pod()).message
    tolerating = pod(tolerations=[{"key": "dedicated", "operator": "Equal", "value": "db"}])
    assert on.decide(tolerating).node == "a"
    assert on.decide(pod(tolerations=[{"operator": "Exists"}])).node == "a"


def test_soft_taints_are_avoided_where_possible() -> None:
    soft = {"key": "spot", "effect": "PreferNoSchedule"}
    on = cycle(node("a", taints=[soft]), node("b"))
    assert on.decide(pod()).node == "b"


def test_cordoned_nodes_are_out() -> None:
    on = cycle(node("a", unschedulable=True))
    assert on.decide(pod()).message == "0/1 nodes are available: 1 node(s) were unschedulable."


def test_selectors_and_required_affinity_choose_nodes() -> None:
    on = cycle(node("a", labels={"disk": "ssd", "gen": "3"}), node("b", labels={"disk": "hdd", "gen": "7"}))
    assert on.decide(pod(nodeSelector={"disk": "ssd"})).node == "a"
    newer = {"matchExpressions": [{"key": "gen", "operator": "Gt", "values": ["5"]}]}
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [newer]}}
    assert on.decide(pod(affinity={"nodeAffinity": required})).node == "b"
    assert "2 node(s) didn't match Pod's node affinity/selector" in on.decide(pod(nodeSelector={"disk": "x"})).message


def test_preferred_affinity_wins_over_balance() -> None:
    on = cycle(node("a", labels={"zone": "east"}), node("b", labels={"zone": "west"}))
    term = {"weight": 80, "preference": {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["west"]}]}}
    preferring: dict[str, Any] = {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [term]}}
    for i in range(5):
        assert place(on, pod(f"p{i}", cpu="100m", affinity=preferring)).node == "b"


def test_host_ports_are_taken_once_per_node() -> None:
    on = cycle(node("a"), node("b"))
    assert {place(on, pod("p1", ports=(80,))).node, place(on, pod("p2", ports=(80,))).node} == {"a", "b"}
    assert "2 node(s) didn't have free ports for the requested pod ports" in on.decide(pod("p3", ports=(80,))).message
    assert on.decide(pod("p4", ports=(81,))).node


def test_room_comes_back_when_pods_go() -> None:
    on = cycle(node("a", cpu="1"))
    first = pod("p1", cpu="800m")
    assert place(on, first).node == "a"
    assert not on.decide(pod("p2", cpu="800m")).node
    on.nodes.remove_pod(first.key)
    assert on.decide(pod("p2", cpu="800m")).node == "a"


def test_the_number_of_pods_is_bounded() -> None:
    on = cycle(node("a", pods="1"))
    place(on, pod("p1"))
    assert "1 Too many pods" in on.decide(pod("p2")).message


def test_no_nodes_at_all() -> None:
    assert cycle().decide(pod()).message == "no nodes available to schedule pods"


def test_pods_bound_to_a_node_that_comes_later_are_counted_then() -> None:
    on = cycle()
    on.nodes.set_pod(pod("p1", cpu="3"), "late")
    on.nodes.set_node(node("late", cpu="4"))
    assert "Insufficient cpu" in on.decide(pod("p2", cpu="2")).message
    on.nodes.remove_node("late")
    on.nodes.set_node(node("late", cpu="4"))
    assert "Insufficient cpu" in on.decide(pod("p2", cpu="2")).message


def test_init_containers_and_sidecars_count_as_upstream_counts_them() -> None:
    def container(cpu: str, **more: Any) -> dict[str, Any]:
        return {"name": "c", "resources": {"requests": {"cpu": cpu}}, **more}

    total, _ = pod_requests(
        {
            "containers": [container("300m"), container("200m")],
            "initContainers": [container("100m", restartPolicy="Always"), container("700m")],
            "overhead": {"cpu": "50m"},
        }
    )
    assert total["cpu"] == 850


def test_incremental_verdicts_equal_fresh_ones() -> None:
    """After any sequence of changes, a cycle that kept its arrays decides as one that starts anew."""
    randomness = random.Random(3)
    on = cycle(*(node(f"n{i}", cpu=str(randomness.randint(1, 8))) for i in range(30)))
    shapes = [pod(cpu="500m", memory="256Mi"), pod(cpu="1"), pod(), pod(nodeSelector={"disk": "ssd"})]
    for step in range(300):
        roll = randomness.random()
        if roll < 0.6:
            shape = randomness.choice(shapes)
            place(on, PodInfo.of({**shape.obj, "metadata": {**shape.obj["metadata"], "name": f"p{step}"}}))
        elif roll < 0.8:
            on.nodes.remove_pod(pod(f"p{randomness.randrange(step + 1)}").key)
        else:
            labels = {"disk": "ssd"} if randomness.random() < 0.5 else {}
            on.nodes.set_node(node(f"n{randomness.randrange(35)}", cpu=str(randomness.randint(1, 8)), labels=labels))
        fresh = Cycle(on.nodes, random.Random(1))
        for shape in shapes:
            kept, new = on.decide(shape), fresh.decide(shape)
            assert (kept.score, kept.feasible, kept.message) == (new.score, new.feasible, new.message)


def test_tainted_nodes_count_in_spreading_unless_their_taints_are_to_be_honoured() -> None:
    """A domain of which the pod may use no node is the emptiest, and keeps others from being filled."""
    taint = {"key": "k", "effect": "NoSchedule"}
    on = cycle(node("a", labels={"zone": "x"}), node("b", labels={"zone": "y"}, taints=[taint]))
    labels = {"name": "w", "namespace": "default", "uid": "w", "labels": {"app": "web"}}
    on.nodes.set_pod(PodInfo.of({**pod().obj, "metadata": labels}), "a")
    selector = {"matchLabels": {"app": "web"}}
    hard = {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule", "labelSelector": selector}
    for policy, fits in (("Ignore", False), ("Honor", True)):
        constraint = {**hard, "nodeTaintsPolicy": policy}
        spec = pod(topologySpreadConstraints=[constraint]).obj["spec"]
        info = PodInfo.of({"metadata": {**labels, "name": "new", "uid": "new"}, "spec": spec})
        assert bool(on.decide(info).node) == fits, policy
