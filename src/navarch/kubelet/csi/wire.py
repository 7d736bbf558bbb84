"""What the kubelet says to CSI drivers and to plugins that register, over gRPC with our own codec.

Source of the field numbers: container-storage-interface/spec csi.proto v1, kubelet's pluginregistration/v1 api.proto.
"""

from __future__ import annotations

from typing import Any

from navarch.machinery.protobuf import Tables

NODE, REGISTRATION = "/csi.v1.Node/", "/pluginregistration.Registration/"
STAGE, VOLUME_STATS, EXPAND, SINGLE_WRITERS, MOUNT_GROUP = 1, 2, 3, 5, 6
"""NodeServiceCapability.RPC.Type"""
ACCESS = {"ReadWriteOnce": 1, "ReadOnlyMany": 3, "ReadWriteMany": 5, "ReadWriteOncePod": 1}
ACCESS_SINGLE_WRITERS = {**ACCESS, "ReadWriteOnce": 7, "ReadWriteOncePod": 6}
"""VolumeCapability.AccessMode.Mode, for drivers that know single writers."""

Tree = dict[str, Any]
MESSAGES: dict[str, str] = {
    "AccessMode": "mode=1:int32",
    "BlockVolume": "",
    "Capability": "rpc=1:CapabilityRpc",
    "CapabilityRpc": "type=1:int32",
    "CapacityRange": "required_bytes=1:int64 limit_bytes=2:int64",
    "GetInfoRequest": "",
    "GetInfoResponse": "type=1:string name=2:string endpoint=3:string supported_versions=4:[]string",
    "MountVolume": "fs_type=1:string mount_flags=2:[]string volume_mount_group=3:string",
    "NodeExpandVolumeRequest": "volume_id=1:string volume_path=2:string capacity_range=3:CapacityRange staging_target_path=4:string volume_capability=5:VolumeCapability secrets=6:map<string>",
    "NodeExpandVolumeResponse": "capacity_bytes=1:int64",
    "NodeGetCapabilitiesRequest": "",
    "NodeGetCapabilitiesResponse": "capabilities=1:[]Capability",
    "NodeGetInfoRequest": "",
    "NodeGetInfoResponse": "node_id=1:string max_volumes_per_node=2:int64 accessible_topology=3:Topology",
    "NodePublishVolumeRequest": "volume_id=1:string publish_context=2:map<string> staging_target_path=3:string target_path=4:string volume_capability=5:VolumeCapability readonly=6:bool secrets=7:map<string> volume_context=8:map<string>",
    "NodePublishVolumeResponse": "",
    "NodeStageVolumeRequest": "volume_id=1:string publish_context=2:map<string> staging_target_path=3:string volume_capability=4:VolumeCapability secrets=5:map<string> volume_context=6:map<string>",
    "NodeStageVolumeResponse": "",
    "NodeUnpublishVolumeRequest": "volume_id=1:string target_path=2:string",
    "NodeUnpublishVolumeResponse": "",
    "NodeUnstageVolumeRequest": "volume_id=1:string staging_target_path=2:string",
    "NodeUnstageVolumeResponse": "",
    "NotifyRegistrationStatusRequest": "plugin_registered=1:bool error=2:string",
    "NotifyRegistrationStatusResponse": "",
    "Topology": "segments=1:map<string>",
    "VolumeCapability": "block=1:BlockVolume mount=2:MountVolume access_mode=3:AccessMode",
}
codec = Tables(MESSAGES)
