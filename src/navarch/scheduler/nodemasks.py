"""What a question about node objects says of every slot, kept for those asked last and renewed for nodes that changed."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field

import numpy as np

from navarch.machinery.types import Obj
from navarch.scheduler.nodes import Bools, Nodes

MAX_KEPT = 512


@dataclass(slots=True)
class _Kept:
    mask: Bools = field(default_factory=lambda: np.zeros(0, bool))
    position: int = -1


class NodeMasks:
    """`ask` answers by keys: what is asked under one key is always the same question. Masks are not to be changed."""

    def __init__(self) -> None:
        self._kept: OrderedDict[Hashable, _Kept] = OrderedDict()

    def ask(self, nodes: Nodes, key: Hashable, holds: Callable[[Obj], bool]) -> Bools:
        found = self._kept.get(key)
        if found is None:
            found = self._kept[key] = _Kept()
            if len(self._kept) > MAX_KEPT:
                self._kept.popitem(last=False)
        else:
            self._kept.move_to_end(key)
        changed = nodes.specs.since(found.position) if found.position >= 0 else None
        if changed is None or len(found.mask) != len(nodes.alive):
            found.mask, changed = np.zeros(len(nodes.alive), bool), range(nodes.size)
        for slot in set(changed):
            node = nodes.objects[slot]
            found.mask[slot] = node is not None and holds(node)
        found.position = nodes.specs.position
        return found.mask
