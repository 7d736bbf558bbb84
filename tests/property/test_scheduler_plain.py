"""On random clusters the array cycle finds the same nodes feasible as the plain version of each plugin, for the same
reasons and with the same scores; also after pods have come and gone since it began to keep them."""

from __future__ import annotations

import random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.plain_scheduler import PREFERRED, REQUIRED, Plain

from navarch.scheduler.cycle import Cycle
from navarch.scheduler.nodes import Nodes
from navarch.scheduler.podinfo import PodInfo
from navarch.scheduler.surroundings import Surroundings

Obj = dict[str, Any]
ZONE, RACK, HOST = "topology.kubernetes.io/zone", "rack", "kubernetes.io/hostname"
NAMESPACES = {"one": {"team": "a"}, "two": {"team": "b"}, "three": {}}
MB = 1024 * 1024

some = st.sampled_from
chance = st.booleans()


@st.composite
def nodes(draw: st.DrawFn) -> list[Obj]:
    made: list[Obj] = []
    for index in range(draw(st.integers(1, 7))):
        name = f"n{index}"
        labels = {HOST: name, "disk": draw(some(["ssd", "hdd"])), "size": draw(some(["1", "5", "x"]))}
        if draw(st.integers(0, 5)):
            labels[ZONE] = draw(some(["a", "b", "c"]))
        if draw(chance):
            labels[RACK] = draw(some(["r1", "r2"]))
        taints = draw(
            st.lists(
                st.fixed_dictionaries(
                    {
                        "key": some(["k1", "k2"]),
                        "value": some(["", "v"]),
                        "effect": some(["NoSchedule", "PreferNoSchedule"]),
                    }
                ),
                max_size=1,
            )
        )
        room = {"cpu": draw(some(["1", "2", "4", "0"])), "memory": draw(some(["1Gi", "4Gi", "0"])), "pods": "5"}
        images = [{"names": ["web:latest"], "sizeBytes": draw(st.integers(0, 900)) * MB}] if draw(chance) else []
        spec = {"taints": taints, "unschedulable": draw(st.integers(0, 8)) == 0}
        made.append(
            {
                "metadata": {"name": name, "labels": labels},
                "spec": spec,
                "status": {"allocatable": room, "images": images},
            }
        )
    return made


selectors = st.one_of(
    st.just({}),
    st.builds(lambda v: {"matchLabels": {"app": v}}, some(["web", "db"])),
    st.just({"matchExpressions": [{"key": "tier", "operator": "Exists"}]}),
)


@st.composite
def term(draw: st.DrawFn) -> Obj:
    made: Obj = {"topologyKey": draw(some([ZONE, RACK, HOST])), "labelSelector": draw(selectors)}
    scope = draw(st.integers(0, 4))
    if scope == 1:
        made["namespaces"] = draw(st.lists(some(["one", "two"]), min_size=1, max_size=2, unique=True))
    elif scope == 2:
        made["namespaceSelector"] = draw(some([{}, {"matchLabels": {"team": "a"}}]))
    return made


@st.composite
def affinity(draw: st.DrawFn) -> Obj:
    made: Obj = {}
    for kind in ("podAffinity", "podAntiAffinity"):
        if draw(st.integers(0, 3)) == 0:
            hard = draw(st.lists(term(), max_size=2))
            soft = draw(
                st.lists(
                    st.builds(lambda w, t: {"weight": w, "podAffinityTerm": t}, st.integers(1, 100), term()), max_size=2
                )
            )
            made[kind] = {REQUIRED: hard, PREFERRED: soft}
    if draw(st.integers(0, 3)) == 0:
        ssd = {"matchExpressions": [{"key": "disk", "operator": "In", "values": ["ssd"]}]}
        large = {"matchExpressions": [{"key": "size", "operator": "Gt", "values": ["2"]}]}
        made["nodeAffinity"] = {
            PREFERRED: [{"weight": draw(st.integers(1, 100)), "preference": draw(some([ssd, large]))}]
        }
        if draw(chance):
            made["nodeAffinity"][REQUIRED] = {"nodeSelectorTerms": draw(some([[ssd], [large], [ssd, large]]))}
    return made


@st.composite
def constraint(draw: st.DrawFn) -> Obj:
    made: Obj = {
        "maxSkew": draw(st.integers(1, 3)),
        "topologyKey": draw(some([ZONE, RACK, HOST])),
        "whenUnsatisfiable": draw(some(["DoNotSchedule", "ScheduleAnyway"])),
        "labelSelector": draw(selectors),
    }
    if draw(chance):
        made["nodeAffinityPolicy"] = draw(some(["Honor", "Ignore"]))
        made["nodeTaintsPolicy"] = draw(some(["Honor", "Ignore"]))
    if made["whenUnsatisfiable"] == "DoNotSchedule" and draw(chance):
        made["minDomains"] = draw(st.integers(1, 4))
    if draw(chance):
        made["matchLabelKeys"] = ["version"]
    return made


@st.composite
def pod(draw: st.DrawFn) -> Obj:
    requests = {"cpu": draw(some(["0", "100m", "500m", "1"])), "memory": draw(some(["64Mi", "512Mi", "1Gi"]))}
    if draw(chance):
        requests.pop(draw(some(["cpu", "memory"])))
    container: Obj = {"name": "c", "image": draw(some(["web", "db"])), "resources": {"requests": requests}}
    if draw(st.integers(0, 4)) == 0:
        container["ports"] = [{"containerPort": 80, "hostPort": draw(some([80, 81])), "protocol": "TCP"}]
    labels = {"app": draw(some(["web", "db"])), "version": draw(some(["1", "2"]))}
    if draw(chance):
        labels["tier"] = "x"
    spec: Obj = {
        "containers": [container],
        "affinity": draw(affinity()),
        "topologySpreadConstraints": draw(st.lists(constraint(), max_size=2)),
        "tolerations": draw(
            some([[], [{"key": "k1", "operator": "Exists"}], [{"operator": "Exists", "effect": "NoSchedule"}]])
        ),
    }
    if draw(st.integers(0, 4)) == 0:
        spec["nodeSelector"] = {"disk": "ssd"}
    return {"metadata": {"namespace": draw(some(["one", "two", "three"])), "labels": labels}, "spec": spec}


@st.composite
def placed(draw: st.DrawFn) -> list[tuple[Obj, int]]:
    found = draw(st.lists(st.tuples(pod(), st.integers(0, 6)), max_size=10))
    made: list[tuple[Obj, int]] = []
    for index, (one, slot) in enumerate(found):
        meta = {**one["metadata"], "name": f"p{index}", "uid": f"u{index}"}
        if draw(st.integers(0, 5)) == 0:
            meta["deletionTimestamp"] = "2026-01-01T00:00:00Z"
        made.append(({**one, "metadata": meta}, slot))
    return made


def named(one: Obj, name: str) -> PodInfo:
    return PodInfo.of({**one, "metadata": {**one["metadata"], "name": name, "uid": name}})


def agree(cycle: Cycle, plain: Plain, one: Obj) -> None:
    info = named(one, "new")
    feasible = [node for node in plain.nodes if not plain.why_not(info.obj, node)]
    slots = cycle.feasible_slots(info)
    assert {cycle.nodes.names[slot] for slot in slots} == {node["metadata"]["name"] for node in feasible}
    if feasible:
        # equal up to what is the same for all: only differences choose
        ours = dict(
            zip((cycle.nodes.names[slot] for slot in slots), cycle.scores_of(info, slots).tolist(), strict=True)
        )
        theirs = plain.scores(info.obj, feasible)
        assert ours == theirs
    else:
        counted: dict[str, int] = {}
        for node in plain.nodes:
            for reason in plain.why_not(info.obj, node):
                counted[reason] = counted.get(reason, 0) + 1
        assert cycle.verdict(info).counts() == counted


@settings(max_examples=100, deadline=None)
@given(nodes(), placed(), st.lists(pod(), min_size=1, max_size=3))
def test_arrays_agree_with_the_plain_version(
    cluster: list[Obj], there: list[tuple[Obj, int]], asking: list[Obj]
) -> None:
    table = Nodes()
    cycle = Cycle(table, random.Random(1), surroundings=Surroundings(namespaces=dict(NAMESPACES)))
    table.counts.namespaces_changed(NAMESPACES)
    for node in cluster:
        table.set_node(node)
    standing: list[tuple[Obj, str]] = []
    for one, index in there:
        where = cluster[index % len(cluster)]["metadata"]["name"]
        standing.append((one, where))
        table.set_pod(PodInfo.of(one), where)
    for one in asking:
        agree(cycle, Plain(cluster, standing, NAMESPACES), one)
    for one, _ in standing[::2]:  # what was worked out above is kept, and brought up to date
        table.remove_pod(PodInfo.of(one).key)
    for one in asking:
        agree(cycle, Plain(cluster, standing[1::2], NAMESPACES), one)
    spaces = {"one": {"team": "b"}, "two": {"team": "a"}, "three": {}}
    table.counts.namespaces_changed(spaces)
    for one in asking:
        agree(cycle, Plain(cluster, standing[1::2], spaces), one)
