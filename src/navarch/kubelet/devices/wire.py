"""Messages of device plugins. Source of the field numbers: kubelet's deviceplugin/v1beta1 api.proto."""

from __future__ import annotations

from navarch.machinery.protobuf import Tables

VERSION = "v1beta1"
PLUGIN = "/v1beta1.DevicePlugin/"
MESSAGES: dict[str, str] = {
    "AllocateRequest": "container_requests=1:[]ContainerAllocateRequest",
    "AllocateResponse": "container_responses=1:[]ContainerAllocateResponse",
    "ContainerAllocateRequest": "devices_ids=1:[]string",
    "ContainerAllocateResponse": "envs=1:map<string> mounts=2:[]Mount devices=3:[]DeviceSpec annotations=4:map<string>",
    "ContainerPreferredAllocationRequest": (
        "available_deviceIDs=1:[]string must_include_deviceIDs=2:[]string allocation_size=3:int32"
    ),
    "ContainerPreferredAllocationResponse": "deviceIDs=1:[]string",
    "Device": "ID=1:string health=2:string",
    "DevicePluginOptions": "pre_start_required=1:bool get_preferred_allocation_available=2:bool",
    "DeviceSpec": "container_path=1:string host_path=2:string permissions=3:string",
    "Empty": "",
    "GetPreferredAllocationRequest": "container_requests=1:[]ContainerPreferredAllocationRequest",
    "GetPreferredAllocationResponse": "container_responses=1:[]ContainerPreferredAllocationResponse",
    "ListAndWatchResponse": "devices=1:[]Device",
    "Mount": "container_path=1:string host_path=2:string read_only=3:bool",
    "PreStartContainerRequest": "devices_ids=1:[]string",
    "PreStartContainerResponse": "",
    "RegisterRequest": "version=1:string endpoint=2:string resource_name=3:string options=4:DevicePluginOptions",
}
codec = Tables(MESSAGES)
