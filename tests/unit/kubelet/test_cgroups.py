"""The tree of pods' cgroups, on a copy of the file system's layout."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from navarch.kubelet.cgroups import Cgroups, pod_amounts, weight


def pod(qos: str, *containers: dict[str, Any]) -> dict[str, Any]:
    spec = {"containers": [{"name": f"c{i}", "resources": r} for i, r in enumerate(containers)]}
    return {"metadata": {"uid": "u1"}, "spec": spec, "status": {"qosClass": qos}}


LIMITED = {"limits": {"cpu": "500m", "memory": "20Mi"}, "requests": {"cpu": "250m", "memory": "10Mi"}}


def test_a_pod_is_limited_where_all_its_containers_are() -> None:
    assert pod_amounts(pod("Burstable", LIMITED, LIMITED)) == {"shares": 512, "quota": 100_000, "memory": 40 << 20}
    assert pod_amounts(pod("Burstable", LIMITED, {})) == {"shares": 256}
    assert pod_amounts(pod("BestEffort", {})) == {"shares": 2}


def test_weights_of_version_two() -> None:
    assert (weight(2), weight(1024), weight(262_144)) == (1, 39, 10_000)


def hierarchies(mount: Path) -> None:
    for name in ("cpu", "memory", "pids", "freezer"):
        (mount / name).mkdir()


def test_folders_come_and_go_in_every_hierarchy(tmp_path: Path) -> None:
    hierarchies(tmp_path)
    cgroups = Cgroups("/nv", tmp_path)
    cgroups.prepare()
    cgroups.ensure(pod("Burstable", LIMITED))
    folder = "nv/kubepods/burstable/podu1"
    assert (tmp_path / "memory" / folder).is_dir() and (tmp_path / "pids" / folder).is_dir()
    (tmp_path / "freezer" / folder / "container").mkdir(parents=True)
    for file in [path for path in tmp_path.rglob("*") if path.is_file()]:
        file.unlink()  # the kernel's own files do not keep a folder from being removed
    assert cgroups.orphans([]) == ["u1"]
    assert cgroups.orphans(["u1"]) == []
    cgroups.remove("u1")
    assert not list(tmp_path.rglob("podu1"))
