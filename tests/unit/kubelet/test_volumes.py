"""What volumes show, and that containers cannot lead the kubelet out of them."""

from __future__ import annotations

import base64
import os
from pathlib import Path
from typing import Any

import pytest

from navarch.kubelet.env import ConfigError
from navarch.kubelet.volumes import VolumeError, atomic, payload
from navarch.kubelet.volumes.host_path import host_path
from navarch.kubelet.volumes.payload import File
from navarch.kubelet.volumes.submounts import container_mounts

CONFIG = {"kind": "ConfigMap", "data": {"a": "1", "b": "2"}, "binaryData": {"c": base64.b64encode(b"\xff").decode()}}
POD: dict[str, Any] = {
    "metadata": {"name": "p", "namespace": "ns", "uid": "u"},
    "spec": {"containers": [{"name": "c"}]},
}


def look(kind: str, namespace: str, name: str) -> Any:
    return CONFIG if name == "there" else None


def test_all_keys_or_those_that_are_named() -> None:
    found = payload.config_map({"configMap": {"name": "there"}}, "ns", look)
    assert found == {"a": File(b"1", 0o644), "b": File(b"2", 0o644), "c": File(b"\xff", 0o644)}
    items = [{"key": "a", "path": "x/y", "mode": 0o400}]
    assert payload.config_map({"configMap": {"name": "there", "items": items}}, "ns", look) == {
        "x/y": File(b"1", 0o400)
    }


def test_what_is_missing_is_said_unless_it_is_optional() -> None:
    with pytest.raises(VolumeError, match='configmap "gone" not found'):
        payload.config_map({"configMap": {"name": "gone"}}, "ns", look)
    assert payload.config_map({"configMap": {"name": "gone", "optional": True}}, "ns", look) == {}
    with pytest.raises(VolumeError, match="references non-existent config key: z"):
        payload.config_map({"configMap": {"name": "there", "items": [{"key": "z", "path": "z"}]}}, "ns", look)


def test_a_projected_token_is_readable_by_its_group_alone() -> None:
    volume = {"projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}}
    assert payload.projected(volume, POD, look, {}, lambda part: "t")["token"].mode == 0o644
    grouped = {**POD, "spec": {**POD["spec"], "securityContext": {"fsGroup": 5}}}
    assert payload.projected(volume, grouped, look, {}, lambda part: "t")["token"].mode == 0o600
    one_user = {**POD, "spec": {**POD["spec"], "securityContext": {"runAsUser": 7}}}
    assert payload.projected(volume, one_user, look, {}, lambda part: "t")["token"].owner == 7


def test_a_version_is_swapped_as_a_whole_and_only_when_it_differs(tmp_path: Path) -> None:
    first = {"a": File(b"1", 0o644), "d/e": File(b"2", 0o600)}
    assert atomic.write(tmp_path, first, None, "v1")
    assert not atomic.write(tmp_path, first, None, "v2")
    assert (tmp_path / "a").read_bytes() == b"1" and (tmp_path / "d/e").read_bytes() == b"2"
    assert atomic.write(tmp_path, {"a": File(b"9", 0o644)}, None, "v3")
    assert (tmp_path / "a").read_bytes() == b"9"
    assert sorted(os.listdir(tmp_path)) == ["..data", "..v3", "a"]


@pytest.mark.parametrize("path", ["../x", "/etc/x", "a/../../x", "..data"])
def test_paths_out_of_a_volume_are_refused(tmp_path: Path, path: str) -> None:
    with pytest.raises(VolumeError):
        atomic.write(tmp_path, {path: File(b"", 0o644)}, None, "v1")


def test_host_paths_are_what_they_are_said_to_be(tmp_path: Path) -> None:
    assert host_path({"path": str(tmp_path / "new"), "type": "DirectoryOrCreate"}) == str(tmp_path / "new")
    with pytest.raises(VolumeError, match="is not a file"):
        host_path({"path": str(tmp_path), "type": "File"})


class Volume:
    def __init__(self, path: Path) -> None:
        self.path, self.read_only = str(path), False


@pytest.mark.parametrize("link", ["/etc", "../outside"])
def test_a_link_in_a_volume_does_not_lead_out_of_it(tmp_path: Path, link: str) -> None:
    volume = tmp_path / "volume"
    volume.mkdir()
    (tmp_path / "outside").mkdir()
    (volume / "escape").symlink_to(link)
    container = {"name": "c", "volumeMounts": [{"name": "v", "mountPath": "/v", "subPath": "escape/shadow"}]}
    with pytest.raises(ConfigError, match="out of its volume"):
        container_mounts(container, {"v": Volume(volume)}, str, tmp_path / "subpaths")


def test_a_mount_of_nothing_is_an_error(tmp_path: Path) -> None:
    container = {"name": "c", "volumeMounts": [{"name": "v", "mountPath": "/v"}]}
    with pytest.raises(ConfigError, match="cannot find volume"):
        container_mounts(container, {}, str, tmp_path)


def test_labels_and_annotations_are_quoted_as_go_does() -> None:
    values = {"b": "two\tparts", "a": 'a "q" \\ \x01é\u200b\n'}
    volume = {"items": [{"path": "all", "fieldRef": {"fieldPath": "metadata.annotations"}}]}
    pod = {**POD, "metadata": {**POD["metadata"], "annotations": values}}
    shown = payload.downward(volume, pod, {}, 0o644)["all"].data.decode()
    assert shown == 'a="a \\"q\\" \\\\ \\x01é\\u200b\\n"\nb="two\\tparts"'
