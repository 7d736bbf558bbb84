"""Labels of nodes that have had their day, and the warnings for whoever still selects by them."""

from __future__ import annotations

from navarch.machinery.types import Obj

DEPRECATED = {
    "beta.kubernetes.io/arch": 'deprecated since v1.14; use "kubernetes.io/arch" instead',
    "beta.kubernetes.io/os": 'deprecated since v1.14; use "kubernetes.io/os" instead',
    "failure-domain.beta.kubernetes.io/region": 'deprecated since v1.17; use "topology.kubernetes.io/region" instead',
    "failure-domain.beta.kubernetes.io/zone": 'deprecated since v1.17; use "topology.kubernetes.io/zone" instead',
    "beta.kubernetes.io/instance-type": 'deprecated since v1.17; use "node.kubernetes.io/instance-type" instead',
    "app.kubernetes.io/created-by": "deprecated since v1.9",
    "scheduler.alpha.kubernetes.io/preferAvoidPods": "deprecated since v1.22; use Taints and Tolerations instead",
    "node-role.kubernetes.io/master": 'use "node-role.kubernetes.io/control-plane" instead',
}


def selector_warnings(selector: Obj | None, path: str) -> list[str]:
    """Of a LabelSelector over nodes."""
    found: list[str] = []
    for index, term in enumerate((selector or {}).get("matchExpressions") or ()):
        if message := DEPRECATED.get(key := term.get("key", "")):
            found.append(f"{path}.matchExpressions[{index}].key: {key} is {message}")
    labels: Obj = (selector or {}).get("matchLabels") or {}
    return found + [f"{path}.matchLabels.{key}: {DEPRECATED[key]}" for key in labels if key in DEPRECATED]
