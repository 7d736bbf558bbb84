"""What `up` and `down` do to the user's kubeconfig, and how clusters are told apart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from navarch.cluster import kubeconfig, state
from navarch.cluster.config import ClusterConfig
from navarch.cluster.supervisor import Process

ADMIN: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Config",
    "clusters": [{"name": "x", "cluster": {"server": "https://127.0.0.1:6443"}}],
    "users": [{"name": "x", "user": {"token": "t"}}],
    "contexts": [{"name": "x", "context": {"cluster": "x", "user": "x"}}],
    "current-context": "x",
}


@pytest.fixture
def user_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "kube" / "config"
    monkeypatch.setenv("KUBECONFIG", str(path))
    return path


def contexts(path: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(path.read_text())
    return {"names": [c["name"] for c in loaded["contexts"]], "current": loaded["current-context"]}


def test_a_context_is_added_beside_others_and_taken_out_again(user_file: Path) -> None:
    other = kubeconfig.renamed(ADMIN, "work")
    user_file.parent.mkdir()
    user_file.write_text(yaml.safe_dump(other))
    config = ClusterConfig()
    kubeconfig.add_to_user_file(config, ADMIN)
    kubeconfig.add_to_user_file(config, ADMIN)
    assert contexts(user_file) == {"names": ["work", "navarch"], "current": "navarch"}
    assert user_file.stat().st_mode & 0o777 == 0o600
    kubeconfig.remove_from_user_file(config)
    assert contexts(user_file) == {"names": ["work"], "current": ""}
    assert yaml.safe_load(user_file.read_text())["users"] == other["users"]


def test_every_cluster_has_a_context_of_its_own(user_file: Path) -> None:
    kubeconfig.add_to_user_file(ClusterConfig(), ADMIN)
    kubeconfig.add_to_user_file(ClusterConfig(name="two"), ADMIN)
    assert contexts(user_file) == {"names": ["navarch", "navarch-two"], "current": "navarch-two"}


def test_clusters_share_neither_ranges_nor_ports(tmp_path: Path) -> None:
    one, two = (state.create(name, tmp_path / "state", tmp_path / "run") for name in ("one", "two"))
    for attribute in ("pod_cidr", "service_cidr", "api_port", "kubelet_port", "dns_port", "bridge", "table"):
        assert getattr(one, attribute) != getattr(two, attribute)
    lower, upper = sorted(
        (one.node_port_range, two.node_port_range)
    )  # which is which depends on what runs here besides
    assert lower[1] < upper[0]
    assert state.load("two", tmp_path / "state", tmp_path / "run") == two
    assert [c.name for c in state.all_clusters(tmp_path / "state")] == ["one", "two"]


@pytest.mark.parametrize("name", ["", "-a", "A", "a_b", "a" * 21, "../x"])
def test_bad_cluster_names_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(state.ClusterError, match="no name for a cluster"):
        state.create(name, tmp_path, tmp_path)


def test_a_process_is_known_by_its_start_time_too(tmp_path: Path) -> None:
    import os

    me = Process.of(os.getpid())
    assert me
    me.write(tmp_path / "me.pid")
    assert Process.read(tmp_path / "me.pid") == me
    (tmp_path / "me.pid").write_text(f"{me.pid} 1")
    assert Process.read(tmp_path / "me.pid") is None
    (tmp_path / "me.pid").write_text("")
    assert Process.read(tmp_path / "me.pid") is None
