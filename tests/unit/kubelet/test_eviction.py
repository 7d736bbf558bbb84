"""Who goes when the node runs short, and who may not come."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from navarch.kubelet.admission import shortfalls
from navarch.kubelet.context import EVICTION_HARD
from navarch.kubelet.eviction import Met, Reading, Use, has_limits, message, met, over_limit, ranked, refusal, victims
from navarch.kubelet.pressure import held_by, readings

GI, MI = 1 << 30, 1 << 20


def pod(
    name: str, memory: str = "", priority: int = 0, qos: str = "Burstable", limits: Any = None, **spec: Any
) -> dict[str, Any]:
    resources = {"requests": {"memory": memory}} if memory else {}
    resources |= {"limits": limits} if limits else {}
    container = {"name": "c", "resources": resources}
    meta = {"name": name, "namespace": "n", "uid": name}
    return {
        "metadata": meta,
        "spec": {"containers": [container], "priority": priority, **spec},
        "status": {"qosClass": qos if memory or limits else "BestEffort"},
    }


def test_thresholds_are_amounts_or_shares_and_memory_comes_first() -> None:
    signals = {
        "nodefs.available": Reading(9 * GI, 100 * GI),
        "imagefs.available": Reading(20 * GI, 100 * GI),
        "memory.available": Reading(50 * MI, 8 * GI),
        "nodefs.inodesFree": Reading(60, 1000),
    }
    found = met(EVICTION_HARD, signals)
    assert found == [Met("memory.available", "100Mi", "50Mi"), Met("nodefs.available", "10Gi", "9Gi")]
    assert [each.resource for each in found] == ["memory", "ephemeral-storage"]


def test_the_machine_has_all_signals() -> None:
    found = readings(Path("/"))
    assert {"memory.available", "nodefs.available", "imagefs.available", "pid.available"} <= found.keys()
    assert all(0 <= reading.available <= reading.capacity for reading in found.values())


def test_those_above_their_requests_go_first_then_the_lowly_then_the_greedy() -> None:
    uses = [
        Use(pod("within", "2Gi"), memory=GI),
        Use(pod("over", "1Gi"), memory=2 * GI),
        Use(pod("far-over", "1Gi"), memory=3 * GI),
        Use(pod("over-but-high", "1Gi", priority=1000), memory=9 * GI),
        Use(pod("best-effort"), memory=100 * MI),
    ]
    order = [use.pod["metadata"]["name"] for use in ranked("memory", uses)]
    assert order == ["far-over", "over", "best-effort", "over-but-high", "within"]
    many, few = Use(pod("many"), processes=9), Use(pod("few"), processes=1)
    assert ranked("pids", [few, many]) == [many, few]


def test_the_message_names_what_was_exceeded() -> None:
    use = Use(pod("p", "1Gi"), memory=2 * GI, container_memory={"c": 2 * GI})
    assert message(Met("memory.available", "100Mi", "50Mi"), use) == (
        "The node was low on resource: memory. Threshold quantity: 100Mi, available: 50Mi. "
        "Container c was using 2Gi, request is 1Gi, has larger consumption of memory. "
    )


STORAGE = {"ephemeral-storage": "10Mi"}


@pytest.mark.parametrize(
    ("subject", "why"),
    [
        (Use(pod("p", limits=STORAGE), disk=11 * MI), "Pod ephemeral local storage usage exceeds the total limit of containers 10Mi. "),
        (Use(pod("p", limits=STORAGE), container_disk={"c": 11 * MI}), 'Container c exceeded its local ephemeral storage limit "10Mi". '),
        (
            Use(pod("p", volumes=[{"name": "v", "emptyDir": {"sizeLimit": "1Mi"}}]), volumes={"v": 2 * MI}),
            'Usage of EmptyDir volume "v" exceeds the limit "1Mi". ',
        ),
        (Use(pod("p", limits=STORAGE), disk=9 * MI), ""),
    ],
)  # fmt: skip
def test_limits_of_local_storage(subject: Use, why: str) -> None:
    assert over_limit(subject) == why and has_limits(subject.pod)


def test_only_what_is_limited_is_measured() -> None:
    assert not has_limits(pod("p", volumes=[{"name": "v", "emptyDir": {}}]))
    assert not has_limits(pod("p", volumes=[{"name": "v", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}}]))


def test_a_folder_is_measured_with_all_below(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "file").write_bytes(b"x" * 100_000)
    (tmp_path / "link").symlink_to("/usr")
    found = held_by(tmp_path)
    assert 100_000 <= found.used < 200_000 and found.inodes == 4
    assert held_by(tmp_path / "missing").used == 0


def test_a_node_under_pressure_refuses() -> None:
    tolerant = {"tolerations": [{"key": "node.kubernetes.io/memory-pressure", "operator": "Exists"}]}
    memory = ["MemoryPressure"]
    assert refusal(pod("p"), []) is None
    refused = refusal(pod("p"), memory)
    assert refused == ("Evicted", "The node had condition: [MemoryPressure]. ")
    assert refusal(pod("p", "1Gi"), memory) is None and refusal(pod("p", **tolerant), memory) is None
    assert (
        refusal(pod("p", "1Gi"), ["DiskPressure"])
        and refusal(pod("p", priority=2_000_000_000), ["DiskPressure"]) is None
    )


def test_a_critical_pod_ends_as_few_as_will_do() -> None:
    critical = pod("critical", "4Gi", priority=2_000_000_000)
    others = [pod("a", "1Gi"), pod("b", "5Gi"), pod("c", "4Gi"), pod("best")]
    node = {"status": {"allocatable": {"memory": "10Gi", "pods": "9", "cpu": "4"}}}
    lacks = shortfalls(critical, others, node)
    assert lacks == {"memory": 4 * GI}
    ended = victims(critical, lacks, others)
    assert ended is not None and [p["metadata"]["name"] for p in ended] == ["c"]
    assert victims(critical, {"memory": 100 * GI}, others) is None
    assert victims(pod("p", "4Gi"), lacks, [pod("x", "9Gi", priority=5)]) is None
