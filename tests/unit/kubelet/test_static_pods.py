"""Static pods from manifests."""

from __future__ import annotations

import pytest

from navarch.kubelet.static_pods import is_mirror, mirror_of, static_pod

MANIFEST = b"""
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: kube-system}
spec:
  containers: [{name: c, image: nginx}]
"""
NODE = {"metadata": {"name": "n1", "uid": "node-uid"}}


def test_a_static_pod_is_named_after_its_node_and_has_its_defaults() -> None:
    pod = static_pod(MANIFEST, "n1", 0.0)
    assert pod["metadata"]["name"] == "web-n1"
    assert pod["metadata"]["namespace"] == "kube-system"
    assert pod["spec"]["nodeName"] == "n1"
    assert pod["spec"]["restartPolicy"] == "Always"
    assert {"operator": "Exists", "effect": "NoExecute"} in pod["spec"]["tolerations"]
    assert pod["status"]["qosClass"] == "BestEffort"


def test_its_uid_changes_with_the_manifest_only() -> None:
    one = static_pod(MANIFEST, "n1", 0.0)["metadata"]["uid"]
    assert static_pod(MANIFEST, "n1", 99.0)["metadata"]["uid"] == one
    assert static_pod(MANIFEST.replace(b"nginx", b"busybox"), "n1", 0.0)["metadata"]["uid"] != one
    assert static_pod(MANIFEST, "n2", 0.0)["metadata"]["uid"] != one


@pytest.mark.parametrize(
    "manifest",
    [
        b"",
        b"kind: Pod",
        b"[1, 2",
        b"apiVersion: v1\nkind: Pod\nspec: {}",
        MANIFEST.replace(b"name: c", b"name: C_"),
        b"- 1",
    ],
)
def test_bad_manifests_say_why(manifest: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        static_pod(manifest, "n1", 0.0)


def test_the_mirror_names_its_node_and_its_pod() -> None:
    pod = static_pod(MANIFEST, "n1", 0.0)
    mirror = mirror_of(pod, NODE)
    assert is_mirror(mirror) and not is_mirror(pod)
    assert "uid" not in mirror["metadata"]
    assert mirror["metadata"]["ownerReferences"][0]["kind"] == "Node"
    assert mirror["metadata"]["annotations"]["kubernetes.io/config.mirror"] == pod["metadata"]["uid"]
