"""A scenario's objects, without what differs from run to run: marks that begin with "~" stand in its place."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from navarch.machinery.types import Obj

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
_TIME = re.compile(r"20(?:2[5-9]|[3-9]\d)-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(Z| \+0000 UTC)( m=[+.\d]+)?")
_SAFE = "[bcdfghjklmnpqrstvwxz2456789]"
_SUFFIX = re.compile(rf"(?<=[a-z0-9])-{_SAFE}{{5}}(?![a-z0-9-])")
_HASH = re.compile(rf"(?<=[a-z0-9])-(?=[a-z0-9]*[2-9]){_SAFE}{{6,10}}(?![a-z0-9])")
_MINUTE = re.compile(r"-(29|3\d)\d{6}(?!\d)")
_ADDRESSES = (
    (re.compile(r"\b10\.96\.\d+\.\d+\b"), "~service-ip"),
    (re.compile(r"\b10\.(?:13[2-9]|14[0-8])\.\d+\.\d+\b"), "~pod-ip"),
    (re.compile(r"\b10\.128\.\d+\.\d+\b"), "~node-ip"),
    (re.compile(r"\b10\.244\.\d+\.\d+\b"), "~pod-range"),
)
_NODE = re.compile(r"\bhollow-\d+\b")
_TOKEN = re.compile(r"\beyJ[\w-]+\.[\w-]+\.[\w-]+")
_VOLUME = re.compile(r"\bkube-api-access-[a-z0-9]{5}\b")
_HASH_LABELS = ("pod-template-hash", "controller-revision-hash")
UNSTABLE = frozenset({"uid", "resourceVersion", "selfLink", "lastHeartbeatTime"})


class Normal:
    """Of one scenario's run; hashes that it has met keep their marks from one recording to the next."""

    def __init__(self) -> None:
        self._hashes: dict[str, str] = {}

    def learn(self, objects: Iterable[Obj]) -> None:
        """Numbers hashes of templates by their revisions."""
        met: list[tuple[Any, str]] = []
        for obj in objects:
            meta = obj["metadata"]
            labels = meta.get("labels") or {}
            if obj["kind"] == "ControllerRevision":
                met.append(((1, obj["revision"]), meta["name"].rpartition("-")[2]))
            elif obj["kind"] == "ReplicaSet" and "pod-template-hash" in labels:
                revision = (meta.get("annotations") or {}).get("deployment.kubernetes.io/revision", "0")
                met.append(((0, int(revision)), labels["pod-template-hash"]))
        for _, text in sorted(met):
            self._hashes.setdefault(text, f"~hash{len(self._hashes) + 1}")

    def objects(self, objects: Iterable[Obj]) -> dict[str, Any]:
        """By normalised name; those that are then alike in name, as a sorted list (alike ones counted)."""
        named: dict[str, list[str]] = {}
        for obj in objects:
            tree = self._object(obj)
            named.setdefault(tree["metadata"]["name"], []).append(json.dumps(tree, sort_keys=True))
        found: dict[str, Any] = {}
        for name, texts in sorted(named.items()):
            counted = sorted(Counter(texts).items())
            trees = [json.loads(text) for text, _ in counted]
            if len(texts) == 1:
                found[name] = trees[0]
            else:
                found[name] = [{"times": n, **tree} for (_, n), tree in zip(counted, trees, strict=True)]
        return found

    def _object(self, obj: Obj) -> Any:
        meta = dict(obj["metadata"])
        managers = {
            (e["manager"], e["operation"], e.get("subresource", "")) for e in meta.pop("managedFields", None) or ()
        }
        tree = self.tree({**obj, "metadata": meta})
        tree["metadata"]["managers"] = sorted("/".join(entry) for entry in managers)
        if obj["kind"] in ("EndpointSlice", "Endpoints"):
            _ordered(tree)
        return tree

    def events(self, events: Iterable[Obj]) -> dict[str, int]:
        """What was said, and how often."""
        found: Counter[str] = Counter()
        for event in events:
            source, about = event.get("source") or {}, event["involvedObject"]
            said = [
                about.get("kind", ""),
                self.text(about.get("name", "")) + (f"[{about['fieldPath']}]" if about.get("fieldPath") else ""),
                about.get("apiVersion", ""),
                event.get("type", ""),
                event.get("reason", ""),
                source.get("component", "") + ("@" + self.text(source["host"]) if source.get("host") else ""),
                event.get("reportingComponent", ""),
                event.get("action", ""),
                self.text(event.get("message", "")),
            ]
            found[" | ".join(said)] += max(event.get("count") or 0, (event.get("series") or {}).get("count") or 1)
        return dict(sorted(found.items()))

    def tree(self, value: Any, key: str = "") -> Any:
        if isinstance(value, Mapping):
            return {self.text(k): self.tree(v, k) for k, v in value.items() if k not in UNSTABLE}
        if isinstance(value, list):
            return [self.tree(v) for v in value]
        if isinstance(value, str):
            if key in _HASH_LABELS and value not in self._hashes and not value.endswith(tuple(self._hashes)):
                return "~hash"
            return self.text(value)
        if key in ("nodePort", "healthCheckNodePort") and value:
            return "~port"
        return value

    def text(self, text: str) -> str:
        for value, mark in self._hashes.items():
            text = text.replace(value, mark)
        text = _UUID.sub("~uid", text)
        text = _TIME.sub("~time", text)
        text = _TOKEN.sub("~token", text)
        text = _VOLUME.sub("~volume", text)
        for pattern, mark in _ADDRESSES:
            text = pattern.sub(mark, text)
        text = _NODE.sub("~node", text)
        text = _MINUTE.sub("-~minute", text)
        text = _SUFFIX.sub("-~", text)
        return _HASH.sub("-~hash", text)


def _ordered(tree: Any) -> None:
    """Endpoints in one order: theirs follows from addresses."""
    for part in (tree, *(tree.get("subsets") or ())):
        for name in ("endpoints", "addresses", "notReadyAddresses", "ports"):
            if isinstance(part.get(name), list):
                part[name].sort(key=lambda item: json.dumps(item, sort_keys=True))
