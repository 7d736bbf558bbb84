"""Which ConfigMaps and Secrets a pod refers to."""

from __future__ import annotations

from navarch.kubelet.sources import Reference, references


def test_every_kind_of_reference_is_found() -> None:
    spec = {
        "imagePullSecrets": [{"name": "pull"}],
        "volumes": [
            {"name": "a", "configMap": {"name": "cm"}},
            {"name": "b", "secret": {"secretName": "s"}},
            {"name": "c", "projected": {"sources": [{"configMap": {"name": "pcm"}}, {"secret": {"name": "ps"}}]}},
            {"name": "d", "emptyDir": {}},
        ],
        "initContainers": [{"name": "i", "envFrom": [{"configMapRef": {"name": "from"}}]}],
        "containers": [
            {
                "name": "c",
                "envFrom": [{"secretRef": {"name": "sfrom"}}],
                "env": [
                    {"name": "A", "value": "1"},
                    {"name": "B", "valueFrom": {"configMapKeyRef": {"name": "key", "key": "k"}}},
                    {"name": "C", "valueFrom": {"secretKeyRef": {"name": "skey", "key": "k"}}},
                ],
            }
        ],
    }
    found = references({"metadata": {"namespace": "ns"}, "spec": spec})
    assert {name for kind, _, name in found if kind == "ConfigMap"} == {"cm", "pcm", "from", "key"}
    assert {name for kind, _, name in found if kind == "Secret"} == {"pull", "s", "ps", "sfrom", "skey"}
    assert Reference("Secret", "ns", "pull") in found
