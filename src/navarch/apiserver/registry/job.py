"""Jobs: a delete that does not say what becomes of their pods is warned of."""

from __future__ import annotations

from navarch.apiserver.registry.call import Call, DeleteOptions
from navarch.apiserver.registry.generic import Registry
from navarch.apiserver.watchcache import Entry

ORPHANED = (
    "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove them "
    "or set propagationPolicy=Orphan to suppress this warning"
)


class JobRegistry(Registry):
    async def delete(self, call: Call, options: DeleteOptions) -> tuple[Entry, bool]:
        if not options.propagation and options.orphan_dependents is None:
            call.warnings.append(ORPHANED)
        return await super().delete(call, options)
