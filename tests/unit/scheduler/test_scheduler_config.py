"""KubeSchedulerConfiguration: profiles, plugins and their arguments, extenders; and what becomes of them."""

from __future__ import annotations

import random
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.unit.scheduler.test_scheduler_cycle import node, pod

from navarch.machinery.types import Obj
from navarch.machinery.yamltext import parse_yaml
from navarch.scheduler.config import from_tree
from navarch.scheduler.cycle import Cycle
from navarch.scheduler.nodes import Nodes
from navarch.scheduler.podinfo import PodInfo
from navarch.scheduler.profiles import Profile, SchedulerConfig

EXAMPLE = Path(__file__).parents[3] / "examples" / "scheduler-plugin"


def config(**fields: Any) -> SchedulerConfig:
    head = {"apiVersion": "kubescheduler.config.k8s.io/v1", "kind": "KubeSchedulerConfiguration"}
    return from_tree({**head, **fields})


def profile(plugins: Obj | None = None, **args: Obj) -> Profile:
    given = [{"name": name, "args": value} for name, value in args.items()]
    return config(profiles=[{"plugins": plugins or {}, "pluginConfig": given}]).profiles[0]


def cycle(of: Profile, *nodes: Obj) -> Cycle:
    table = Nodes()
    for one in nodes:
        table.set_node(one)
    return Cycle(table, random.Random(1), of.plugins())


def weights(of: Profile) -> dict[str, int]:
    return {plugin.name: plugin.weight for plugin in of.plugins()}


def test_nothing_said_is_the_default() -> None:
    default, said = SchedulerConfig(), config()
    assert weights(default.profiles[0]) == weights(said.profiles[0])
    assert (said.first_backoff, said.max_backoff, said.profiles[0].preempts) == (1, 10, True)


def test_plugins_are_switched_off_and_weighed() -> None:
    of = profile(
        {
            "multiPoint": {"disabled": [{"name": "ImageLocality"}, {"name": "DefaultPreemption"}]},
            "score": {"disabled": [{"name": "TaintToleration"}], "enabled": [{"name": "NodeAffinity", "weight": 9}]},
            "filter": {"disabled": [{"name": "NodePorts"}]},
        }
    )
    found = weights(of)
    assert "ImageLocality" not in found and not of.preempts
    assert (found["TaintToleration"], found["NodeAffinity"]) == (0, 9)
    on = cycle(of, node("a", taints=[{"key": "k", "effect": "NoSchedule"}]))
    assert not on.decide(pod()).node
    on.nodes.set_node(node("a"))
    on.nodes.set_pod(pod("p1", ports=(80,)), "a")
    assert on.decide(pod("p2", ports=(80,))).node == "a"


def test_all_filters_off_but_one() -> None:
    of = profile({"filter": {"disabled": [{"name": "*"}], "enabled": [{"name": "NodeResourcesFit"}]}})
    on = cycle(of, node("a", unschedulable=True, cpu="1"))
    assert on.decide(pod(cpu="1")).node == "a"
    assert not on.decide(pod(cpu="2")).node


@pytest.mark.parametrize(
    ("strategy", "chosen"),
    [
        ({"type": "LeastAllocated"}, "empty"),
        ({"type": "MostAllocated"}, "full"),
        (
            {
                "type": "RequestedToCapacityRatio",
                "requestedToCapacityRatio": {
                    "shape": [
                        {"utilization": 0, "score": 0},
                        {"utilization": 50, "score": 10},
                        {"utilization": 100, "score": 0},
                    ]
                },
            },
            "half",
        ),
        (
            {"type": "MostAllocated", "resources": [{"name": "memory", "weight": 3}, {"name": "cpu", "weight": 1}]},
            "full",
        ),
    ],
)
def test_packing_and_spreading(strategy: Obj, chosen: str) -> None:
    of = profile(
        {"score": {"disabled": [{"name": "NodeResourcesBalancedAllocation"}]}},
        NodeResourcesFit={"scoringStrategy": strategy},
    )
    on = cycle(of, *(node(name, cpu="10", memory="10Gi") for name in ("empty", "half", "full")))
    on.nodes.set_pod(pod("h", cpu="4", memory="4Gi"), "half")
    on.nodes.set_pod(pod("f", cpu="8", memory="8Gi"), "full")
    assert on.decide(pod("new", cpu="1", memory="1Gi")).node == chosen


def test_resources_that_are_not_counted_and_added_affinity() -> None:
    of = profile(
        None,
        NodeResourcesFit={"ignoredResourceGroups": ["example.com"]},
        NodeAffinity={
            "addedAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": {
                    "nodeSelectorTerms": [{"matchExpressions": [{"key": "disk", "operator": "Exists"}]}]
                }
            }
        },
    )
    on = cycle(of, node("a", labels={"disk": "ssd"}), node("b"))
    info = pod()
    container = {"name": "c", "resources": {"requests": {"example.com/gpu": "1"}}}
    assert on.decide(PodInfo.of({**info.obj, "spec": {"containers": [container]}})).node == "a"


def test_default_constraints_spread_pods_of_a_service() -> None:
    constraint = {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}
    of = profile(None, PodTopologySpread={"defaultingType": "List", "defaultConstraints": [constraint]})
    on = cycle(of, node("a", labels={"zone": "x"}), node("b", labels={"zone": "y"}))
    on.around.services["default"] = {"web": {"app": "web"}}
    info = pod()
    web = PodInfo.of({**info.obj, "metadata": {**info.obj["metadata"], "labels": {"app": "web"}}})
    on.nodes.set_pod(web, "a")
    other = PodInfo.of({**web.obj, "metadata": {**web.obj["metadata"], "name": "w2", "uid": "w2"}})
    assert on.decide(other).node == "b"
    on.nodes.remove_node("b")
    on.nodes.set_node(node("b", labels={"zone": "y"}, cpu="0"))
    assert (
        "1 node(s) didn't match pod topology spread constraints"
        in on.decide(
            PodInfo.of({**other.obj, "spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "1"}}}]}})
        ).message
    )


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({"podInitialBackoffSeconds": 0}, "podInitialBackoffSeconds"),
        ({"podInitialBackoffSeconds": 20}, "podMaxBackoffSeconds"),
        ({"profiles": [{}, {}]}, "profiles[1].schedulerName"),
        ({"profiles": [{"plugins": {"filter": {"enabled": [{"name": "Nope"}]}}}]}, "no such plugin"),
        ({"profiles": [{"plugins": {"fitler": {}}}]}, "profiles[0].plugins.fitler"),
        ({"proflies": []}, "proflies"),
        (
            {"profiles": [{"pluginConfig": [{"name": "InterPodAffinity", "args": {"hardPodAffinityWeight": 101}}]}]},
            "[0-100]",
        ),
        (
            {
                "profiles": [
                    {"pluginConfig": [{"name": "NodeResourcesFit", "args": {"scoringStrategy": {"type": "X"}}}]}
                ]
            },
            "scoringStrategy.type",
        ),
        ({"extenders": [{"filterVerb": "f"}]}, "extenders[0].urlPrefix"),
        ({"extenders": [{"urlPrefix": "http://x", "prioritizeVerb": "p"}]}, "positive weight"),
        ({"extenders": [{"urlPrefix": "http://x", "bindVerb": "b"}] * 2}, "only one extender can implement bind"),
    ],
)
def test_what_is_wrong_is_said_by_field(fields: Obj, wrong: str) -> None:
    with pytest.raises(ValueError, match=re.escape(wrong)):
        config(**fields)


def test_other_kinds_and_versions_are_refused() -> None:
    with pytest.raises(ValueError, match="expected kubescheduler"):
        from_tree({"apiVersion": "kubescheduler.config.k8s.io/v1beta3", "kind": "KubeSchedulerConfiguration"})


def test_the_example_plugin_is_found_by_its_entry_point(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = tmp_path / "cool_nodes-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: cool-nodes\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[navarch.scheduler.plugins]\nCoolNodes = cool_nodes:CoolNodes\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.syspath_prepend(str(EXAMPLE))
    found = from_tree(parse_yaml((EXAMPLE / "scheduler.yaml").read_bytes()))
    assert [one.name for one in found.profiles] == ["default-scheduler", "cool-scheduler"]
    label = "example.com/temperature"
    on = cycle(
        found.profiles[1], *(node(n, labels={label: t}) for n, t in (("hot", "75"), ("warm", "60"), ("cool", "30")))
    )
    assert on.decide(pod()).node == "cool"
    on.nodes.remove_node("warm")
    on.nodes.remove_node("cool")
    assert on.decide(pod()).message == "0/1 nodes are available: 1 node(s) were too hot."
    sys.modules.pop("cool_nodes", None)
