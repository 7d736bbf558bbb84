"""Pod groups: each is guarded while it has pods, and is made of a template that there is.

Source: plugin/pkg/admission/scheduling/podgroupprotection, plugin/pkg/admission/podgroup.
"""

from __future__ import annotations

from navarch.api.scheduling.podgroup import PROTECTION
from navarch.apiserver.admission.chain import BasePlugin, refuse
from navarch.apiserver.admission.interface import AdmissionRequest, add_finalizer
from navarch.apiserver.admission.pods import POD_GROUPS
from navarch.apiserver.watchcache import CacheSet
from navarch.machinery.types import GroupResource

WORKLOADS = GroupResource("scheduling.k8s.io", "workloads")


def _creates_group(request: AdmissionRequest) -> bool:
    return request.operation == "CREATE" and not request.subresource and request.resource == POD_GROUPS


class PodGroupProtection(BasePlugin):
    name = "PodGroupProtection"

    def concerns(self, request: AdmissionRequest) -> bool:
        return _creates_group(request)

    async def admit(self, request: AdmissionRequest) -> None:
        add_finalizer(request, PROTECTION)


class PodGroupWorkloadExists(BasePlugin):
    name = "PodGroupWorkloadExists"

    def __init__(self, caches: CacheSet) -> None:
        self._caches = caches

    def concerns(self, request: AdmissionRequest) -> bool:
        return _creates_group(request)

    async def validate(self, request: AdmissionRequest) -> None:
        assert request.object is not None
        reference = ((request.object.get("spec") or {}).get("podGroupTemplateRef") or {}).get("workload")
        if reference is None:
            return
        name, wanted = reference.get("workloadName", ""), reference.get("podGroupTemplateName", "")
        found = self._caches[WORKLOADS].get(request.namespace, name)
        if found is None:
            raise refuse(request, f'PodGroup rejected: Workload "{name}" not found')
        if "deletionTimestamp" in found.obj["metadata"]:
            raise refuse(request, f'PodGroup rejected: Workload "{name}" is being deleted')
        if all(template["name"] != wanted for template in found.obj["spec"]["podGroupTemplates"]):
            raise refuse(request, f'PodGroup rejected: PodGroupTemplate "{wanted}" not found in Workload "{name}"')
