"""What cgroups' files say, of version 1 and 2 alike, and what is made of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from navarch.kubelet import node_metrics
from navarch.kubelet.cgroup_usage import CgroupReader, Details, Interface, Usage, interfaces
from navarch.kubelet.runtime_state import Container, PodRuntime, Sandbox
from navarch.kubelet.stats import Stats

POD: dict[str, Any] = {
    "metadata": {"name": "p", "namespace": "ns", "uid": "u1"},
    "spec": {"containers": [{"name": "c"}]},
    "status": {"qosClass": "Burstable", "startTime": "2026-01-01T00:00:00Z"},
}
PARENT = "navarch/kubepods/burstable/podu1"
RUNTIME = PodRuntime(
    sandboxes=(Sandbox("box", 0, True, 1.0, ("10.0.0.1",)),),
    containers={"c": (Container("run", "c", 0, 1, started=5.0, image='a"b'), Container("old", "c", 0, 2))},
)
V2 = {
    "cpu.stat": "usage_usec 2500000\nuser_usec 2000000\nsystem_usec 500000\n"
    "nr_periods 10\nnr_throttled 3\nthrottled_usec 7\n",
    "memory.current": "1000\n",
    "memory.stat": "anon 300\nfile 600\ninactive_file 400\npgfault 9\npgmajfault 2\n",
    "memory.max": "4096\n",
    "memory.events": "low 0\noom_kill 1\n",
    "pids.current": "4\n",
}
V1 = {
    "cpuacct/X/cpuacct.usage": "2500000000\n",
    "cpuacct/X/cpuacct.stat": "user 200\nsystem 50\n",
    "cpu/X/cpu.stat": "nr_periods 10\nnr_throttled 3\nthrottled_time 7000\n",
    "memory/X/memory.usage_in_bytes": "1000\n",
    "memory/X/memory.limit_in_bytes": "4096\n",
    "memory/X/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n",
    "memory/X/memory.stat": "cache 1\ntotal_rss 300\ntotal_cache 600\ntotal_inactive_file 400\n"
    "total_pgfault 9\ntotal_pgmajfault 2\n",
    "pids/X/pids.current": "4\n",
}
USED = Usage(2_500_000_000, 1000, 600, 300, 9, 2, 4)
MORE = Details(2_000_000_000, 500_000_000, 10, 3, 7000, 600, 4096, 1)


def lay_out(root: Path, version: int, *paths: str) -> CgroupReader:
    files = {f"X/{name}": text for name, text in V2.items()} if version == 2 else V1
    for path in paths:
        for name, text in files.items():
            file = root / name.replace("X", path)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
    if version == 2:
        (root / "cgroup.controllers").write_text("cpu memory pids\n")
    return CgroupReader(root)


@pytest.mark.parametrize("version", [1, 2])
def test_both_versions_say_the_same(tmp_path: Path, version: int) -> None:
    reader = lay_out(tmp_path, version, "a/b")
    assert reader.usage("/a/b") == USED and reader.details("a/b") == MORE
    assert reader.usage("/a/none") is None and reader.details("/a/none") is None


@pytest.mark.parametrize(
    ("version", "file", "text"), [(2, "x/memory.max", "max"), (1, "memory/x/memory.limit_in_bytes", str(2**63 - 4096))]
)
def test_no_limit_is_zero(tmp_path: Path, version: int, file: str, text: str) -> None:
    reader = lay_out(tmp_path, version, "x")
    (tmp_path / file).write_text(text)
    found = reader.details("x")
    assert found and found.memory_limit == 0


def test_interfaces_are_those_of_a_process(tmp_path: Path) -> None:
    net = tmp_path / "7" / "net"
    net.mkdir(parents=True)
    net.joinpath("dev").write_text(
        "Inter-|   Receive\n face |bytes\n    lo: 5 5 0 0 0 0 0 0 5 5 0 0 0 0 0 0\n"
        "  eth0: 10 2 1 3 0 0 0 0 40 5 6 7 0 0 0 0\n"
    )
    assert interfaces(7, tmp_path) == [Interface("eth0", 10, 2, 1, 3, 40, 5, 6, 7)]
    assert interfaces(8, tmp_path) == []


def stats(root: Path) -> Stats:
    return Stats("navarch", lay_out(root, 2, PARENT, f"{PARENT}/run"))


def test_the_summary_tells_amounts_and_rates(tmp_path: Path) -> None:
    found = stats(tmp_path)
    first = found.summary("n", [POD], lambda uid: RUNTIME, 100.0, 1.0, str(tmp_path))
    [pod] = first["pods"]
    assert pod["podRef"] == {"name": "p", "namespace": "ns", "uid": "u1"}
    assert pod["memory"]["workingSetBytes"] == 600 and pod["process_stats"] == {"process_count": 4}
    assert [c["name"] for c in pod["containers"]] == ["c"]
    assert first["node"]["nodeName"] == "n" and first["node"]["fs"]["capacityBytes"] > 0
    cpu = tmp_path / PARENT / "cpu.stat"
    cpu.write_text(cpu.read_text().replace("usage_usec 2500000", "usage_usec 3500000"))
    [pod] = found.summary("n", [POD], lambda uid: RUNTIME, 110.0, 1.0, str(tmp_path))["pods"]
    assert pod["cpu"]["usageNanoCores"] == 100_000_000


def test_resource_metrics_are_those_that_the_metrics_server_reads(tmp_path: Path) -> None:
    lines = node_metrics.resource(stats(tmp_path), [POD], lambda uid: RUNTIME).splitlines()
    assert 'container_cpu_usage_seconds_total{container="c",namespace="ns",pod="p"} 2.5' in lines
    assert 'container_memory_working_set_bytes{container="c",namespace="ns",pod="p"} 600' in lines
    assert 'pod_memory_working_set_bytes{namespace="ns",pod="p"} 600' in lines
    assert "resource_scrape_error 0" in lines
    assert sum(line.startswith("# TYPE container_start_time_seconds gauge") for line in lines) == 1


def test_cadvisor_metrics_have_the_labels_that_dashboards_use(tmp_path: Path) -> None:
    text = node_metrics.cadvisor(stats(tmp_path), [POD], lambda uid: RUNTIME, 100.0)
    own = 'container="c",id="navarch/kubepods/burstable/podu1/run",image="a\\"b",name="run",namespace="ns",pod="p"'
    assert f'container_cpu_usage_seconds_total{{{own},cpu="total"}} 2.5\n' in text
    assert f"container_memory_working_set_bytes{{{own}}} 600\n" in text
    assert f"container_spec_memory_limit_bytes{{{own}}} 4096\n" in text
    whole = f'container="",id="{PARENT}",image="",name="",namespace="ns",pod="p"'
    assert f"container_memory_rss{{{whole}}} 300\n" in text
    assert "machine_cpu_cores " in text


def test_probes_and_claims_are_counted(tmp_path: Path) -> None:
    names = ("c", "ns", "p", "u1", "Readiness", "failed")
    labels = 'container="c",namespace="ns",pod="p",pod_uid="u1",probe_type="Readiness",result="failed"'
    assert f"prober_probe_total{{{labels}}} 2\n" in node_metrics.probes([(names, 2)])
    text = node_metrics.volumes([("ns", "data", str(tmp_path)), ("ns", "gone", "/nowhere")])
    assert 'kubelet_volume_stats_capacity_bytes{namespace="ns",persistentvolumeclaim="data"} ' in text
    assert "gone" not in text
    ended = {("init_container", "139", "Error"): 2}
    own = node_metrics.Own("n", lambda: [POD], lambda uid: RUNTIME, lambda: ended).text()
    how = 'container_type="init_container",exit_code="139",reason="Error"'
    assert f"kubelet_terminated_containers_total{{{how}}} 2\n" in own
    assert "kubelet_running_pods 1\n" in own and 'kubelet_running_containers{container_state="exited"} 1\n' in own
