"""How many replicas each set of a Deployment gets: arithmetic only.

Source of the rules: upstream's deployment util (ResolveFenceposts, NewRSNewReplicas, GetReplicaSetProportion).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from navarch.controllers import objects
from navarch.machinery.types import Obj

DESIRED = "deployment.kubernetes.io/desired-replicas"
MAXIMUM = "deployment.kubernetes.io/max-replicas"
MAX_INT32 = 2**31 - 1


def replicas_of(obj: Obj) -> int:
    """spec.replicas of a Deployment or a ReplicaSet."""
    return int(obj["spec"].get("replicas", 1))


def count_of(replica_set: Obj, field: str) -> int:
    return int((replica_set.get("status") or {}).get(field, 0))


def total(sets: Sequence[Obj]) -> int:
    return sum(map(replicas_of, sets))


def total_of(sets: Sequence[Obj], field: str) -> int:
    return sum(count_of(s, field) for s in sets)


def active(sets: Sequence[Obj]) -> list[Obj]:
    return [s for s in sets if replicas_of(s) > 0]


def scaled(value: int | str | None, of: int, round_up: bool) -> int:
    """An IntOrString, where a percentage is of `of`. Raises ValueError."""
    if value is None:
        return 0
    if isinstance(value, int):
        return value
    exact = int(value.removesuffix("%")) * of / 100
    return math.ceil(exact) if round_up else math.floor(exact)


def is_rolling(deployment: Obj) -> bool:
    return (deployment["spec"].get("strategy") or {}).get("type", "RollingUpdate") == "RollingUpdate"


def fenceposts(deployment: Obj) -> tuple[int, int]:
    """(surge, unavailable). Both zero would never move: unavailable is 1 then."""
    rolling = (deployment["spec"].get("strategy") or {}).get("rollingUpdate") or {}
    wanted = replicas_of(deployment)
    surge = scaled(rolling.get("maxSurge"), wanted, True)
    unavailable = scaled(rolling.get("maxUnavailable"), wanted, False)
    return (0, 1) if surge == 0 and unavailable == 0 else (surge, unavailable)


def max_surge(deployment: Obj) -> int:
    return fenceposts(deployment)[0] if is_rolling(deployment) else 0


def max_unavailable(deployment: Obj) -> int:
    wanted = replicas_of(deployment)
    if not is_rolling(deployment) or wanted == 0:
        return 0
    return min(fenceposts(deployment)[1], wanted)


def new_set_replicas(deployment: Obj, all_replicas: int, new_replicas: int) -> int:
    """What the new set may grow to now. `all_replicas` counts every set's, the new one's among them."""
    wanted = replicas_of(deployment)
    if not is_rolling(deployment):
        return wanted
    room = wanted + max_surge(deployment) - all_replicas
    if room <= 0:
        return new_replicas
    return new_replicas + min(room, wanted - new_replicas)


def available_of(replica_set: Obj) -> int:
    """How many pods will be available once the set has its size: its status may tell of a time before it shrank."""
    return min(count_of(replica_set, "availableReplicas"), replicas_of(replica_set))


def scale_down_old(deployment: Obj, new: Obj, old: Sequence[Obj]) -> dict[str, int]:
    """New sizes (by name) of the old sets that can shrink now: pods that are not available first, then as many as
    availability allows, from the oldest set on."""
    sizes = {s["metadata"]["name"]: replicas_of(s) for s in old}
    minimum = replicas_of(deployment) - max_unavailable(deployment)
    not_ready = replicas_of(new) - available_of(new)
    room = total([*old, new]) - minimum - not_ready
    if room <= 0:
        return {}
    ordered = sorted(active(old), key=by_creation)
    for replica_set in ordered:
        name = replica_set["metadata"]["name"]
        sick = sizes[name] - available_of(replica_set)
        step = min(room, sick)
        if step > 0:
            sizes[name] -= step
            room -= step
    spare = sum(map(available_of, (*old, new))) - minimum
    for replica_set in ordered:
        name = replica_set["metadata"]["name"]
        step = min(spare, sizes[name])
        if step > 0:
            sizes[name] -= step
            spare -= step
    return {
        s["metadata"]["name"]: sizes[s["metadata"]["name"]]
        for s in old
        if sizes[s["metadata"]["name"]] != replicas_of(s)
    }


def by_creation(replica_set: Obj) -> tuple[float, str]:
    return objects.created_at(replica_set), replica_set["metadata"]["name"]


def proportional(deployment: Obj, sets: Sequence[Obj]) -> dict[str, int]:
    """Sizes (by name) of the active sets after the Deployment was scaled in the middle of a rollout."""
    wanted = replicas_of(deployment)
    allowed = wanted + max_surge(deployment) if wanted > 0 else 0
    to_add = allowed - total(sets)
    ordered = sorted(sets, key=by_creation, reverse=to_add > 0)
    ordered.sort(key=replicas_of, reverse=True)
    sizes: dict[str, int] = {}
    added = 0
    for replica_set in ordered:
        share = _share(deployment, replica_set, to_add, added)
        sizes[replica_set["metadata"]["name"]] = replicas_of(replica_set) + share
        added += share
    if ordered and to_add != 0:
        largest = ordered[0]["metadata"]["name"]
        sizes[largest] = max(0, sizes[largest] + to_add - added)
    return sizes


def _share(deployment: Obj, replica_set: Obj, to_add: int, added: int) -> int:
    if replicas_of(replica_set) == 0 or to_add in (0, added):
        return 0
    fraction, left = _fraction(deployment, replica_set), to_add - added
    return min(fraction, left) if to_add > 0 else max(fraction, left)


def _fraction(deployment: Obj, replica_set: Obj) -> int:
    size, wanted = replicas_of(replica_set), replicas_of(deployment)
    if wanted == 0:
        return -size
    before = annotated(replica_set, MAXIMUM) or int((deployment.get("status") or {}).get("replicas", 0))
    if before == 0:
        return 0
    exact = size * (wanted + max_surge(deployment)) / before
    return math.floor(exact + 0.5) - size


def annotated(replica_set: Obj, annotation: str) -> int | None:
    """A count kept as an annotation; None where it is missing or no int32."""
    text = objects.annotations_of(replica_set).get(annotation, "")
    if not (text.isascii() and text.isdecimal()) or int(text) > MAX_INT32:
        return None
    return int(text)


def is_saturated(deployment: Obj, replica_set: Obj | None) -> bool:
    if replica_set is None:
        return False
    wanted = replicas_of(deployment)
    return (
        replicas_of(replica_set) == wanted
        and annotated(replica_set, DESIRED) == wanted
        and count_of(replica_set, "availableReplicas") == wanted
    )
