"""What the kubelet and a driver say to each other. Source: k8s.io/kubelet/pkg/apis, dra/v1 and dra-health/v1alpha1."""

from __future__ import annotations

from navarch.machinery.protobuf import Tables

SERVICES = {
    "v1.DRAPlugin": "/k8s.io.kubelet.pkg.apis.dra.v1.DRAPlugin/",
    "v1beta1.DRAPlugin": "/k8s.io.kubelet.pkg.apis.dra.v1beta1.DRAPlugin/",
}
"""What a driver says that it speaks -> the service's path; the better first. Both have the same messages."""
HEALTH = "/v1alpha1.DRAResourceHealth/"
MESSAGES: dict[str, str] = {
    "Claim": "namespace=1:string uid=2:string name=3:string",
    "Device": "request_names=1:[]string pool_name=2:string device_name=3:string cdi_device_ids=4:[]string share_id=5:string?",
    "NodePrepareResourceResponse": "devices=1:[]Device error=2:string",
    "NodePrepareResourcesRequest": "claims=1:[]Claim",
    "NodePrepareResourcesResponse": "claims=1:map<NodePrepareResourceResponse>",
    "NodeUnprepareResourceResponse": "error=1:string",
    "NodeUnprepareResourcesRequest": "claims=1:[]Claim",
    "NodeUnprepareResourcesResponse": "claims=1:map<NodeUnprepareResourceResponse>",
    "DeviceIdentifier": "pool_name=1:string device_name=2:string",
    "DeviceHealth": (
        "device=1:DeviceIdentifier health=2:int32 last_updated_time=3:int64 health_check_timeout_seconds=4:int64 "
        "message=5:string"
    ),
    "NodeWatchResourcesRequest": "",
    "NodeWatchResourcesResponse": "devices=1:[]DeviceHealth",
}
codec = Tables(MESSAGES)
