"""The container runtime interface's messages that the kubelet uses, as facts: names, numbers and types of fields.

Source: the CRI v1 interface definition, and containerd's events API. Enumerations are written as int32.
"""

from __future__ import annotations

CRI: dict[str, str] = {
    "AttachRequest": "container_id=1:string stdin=2:bool tty=3:bool stdout=4:bool stderr=5:bool",
    "AttachResponse": "url=1:string",
    "AuthConfig": "username=1:string password=2:string auth=3:string server_address=4:string identity_token=5:string registry_token=6:string",
    "Capability": "add_capabilities=1:[]string drop_capabilities=2:[]string add_ambient_capabilities=3:[]string",
    "Container": "id=1:string pod_sandbox_id=2:string metadata=3:ContainerMetadata image=4:ImageSpec image_ref=5:string state=6:int32 created_at=7:int64 labels=8:map<string> annotations=9:map<string> image_id=10:string",
    "ContainerConfig": "metadata=1:ContainerMetadata image=2:ImageSpec command=3:[]string args=4:[]string working_dir=5:string envs=6:[]KeyValue mounts=7:[]Mount devices=8:[]Device labels=9:map<string> annotations=10:map<string> log_path=11:string stdin=12:bool stdin_once=13:bool tty=14:bool linux=15:LinuxContainerConfig stop_signal=18:int32",
    "ContainerFilter": "id=1:string state=2:ContainerStateValue pod_sandbox_id=3:string label_selector=4:map<string>",
    "ContainerMetadata": "name=1:string attempt=2:uint32",
    "ContainerResources": "linux=1:LinuxContainerResources",
    "ContainerStateValue": "state=1:int32",
    "ContainerStatus": "id=1:string metadata=2:ContainerMetadata state=3:int32 created_at=4:int64 started_at=5:int64 finished_at=6:int64 exit_code=7:int32 image=8:ImageSpec image_ref=9:string reason=10:string message=11:string labels=12:map<string> annotations=13:map<string> mounts=14:[]Mount log_path=15:string resources=16:ContainerResources image_id=17:string stop_signal=19:int32",
    "ContainerStatusRequest": "container_id=1:string verbose=2:bool",
    "ContainerStatusResponse": "status=1:ContainerStatus info=2:map<string>",
    "CreateContainerRequest": "pod_sandbox_id=1:string config=2:ContainerConfig sandbox_config=3:PodSandboxConfig",
    "CreateContainerResponse": "container_id=1:string",
    "DNSConfig": "servers=1:[]string searches=2:[]string options=3:[]string",
    "Device": "container_path=1:string host_path=2:string permissions=3:string",
    "ExecRequest": "container_id=1:string cmd=2:[]string tty=3:bool stdin=4:bool stdout=5:bool stderr=6:bool",
    "ExecResponse": "url=1:string",
    "ExecSyncRequest": "container_id=1:string cmd=2:[]string timeout=3:int64",
    "ExecSyncResponse": "stdout=1:bytes stderr=2:bytes exit_code=3:int32",
    "HugepageLimit": "page_size=1:string limit=2:uint64",
    "Image": "id=1:string repo_tags=2:[]string repo_digests=3:[]string size=4:uint64 uid=5:Int64Value username=6:string spec=7:ImageSpec pinned=8:bool",
    "ImageFilter": "image=1:ImageSpec",
    "ImageSpec": "image=1:string annotations=2:map<string> user_specified_image=18:string runtime_handler=19:string image_ref=20:string",
    "ImageStatusRequest": "image=1:ImageSpec verbose=2:bool",
    "ImageStatusResponse": "image=1:Image info=2:map<string>",
    "Int64Value": "value=1:int64",
    "KeyValue": "key=1:string value=2:bytes",
    "LinuxContainerConfig": "resources=1:LinuxContainerResources security_context=2:LinuxContainerSecurityContext",
    "LinuxContainerResources": "cpu_period=1:int64 cpu_quota=2:int64 cpu_shares=3:int64 memory_limit_in_bytes=4:int64 oom_score_adj=5:int64 cpuset_cpus=6:string cpuset_mems=7:string hugepage_limits=8:[]HugepageLimit unified=9:map<string> memory_swap_limit_in_bytes=10:int64",
    "LinuxContainerSecurityContext": "capabilities=1:Capability privileged=2:bool namespace_options=3:NamespaceOption run_as_user=5:Int64Value run_as_group=12:Int64Value run_as_username=6:string readonly_rootfs=7:bool supplemental_groups=8:[]int64 supplemental_groups_policy=17:int32 no_new_privs=11:bool masked_paths=13:[]string readonly_paths=14:[]string seccomp=15:SecurityProfile apparmor=16:SecurityProfile apparmor_profile=9:string seccomp_profile_path=10:string",
    "LinuxPodSandboxConfig": "cgroup_parent=1:string security_context=2:LinuxSandboxSecurityContext sysctls=3:map<string> overhead=4:LinuxContainerResources resources=5:LinuxContainerResources",
    "LinuxPodSandboxStatus": "namespaces=1:Namespace",
    "LinuxSandboxSecurityContext": "namespace_options=1:NamespaceOption run_as_user=3:Int64Value run_as_group=8:Int64Value readonly_rootfs=4:bool supplemental_groups=5:[]int64 supplemental_groups_policy=11:int32 privileged=6:bool seccomp=9:SecurityProfile apparmor=10:SecurityProfile seccomp_profile_path=7:string",
    "ListContainersRequest": "filter=1:ContainerFilter",
    "ListContainersResponse": "containers=1:[]Container",
    "ListImagesRequest": "filter=1:ImageFilter",
    "ListImagesResponse": "images=1:[]Image",
    "ListPodSandboxRequest": "filter=1:PodSandboxFilter",
    "ListPodSandboxResponse": "items=1:[]PodSandbox",
    "Mount": "container_path=1:string host_path=2:string readonly=3:bool selinux_relabel=4:bool propagation=5:int32 recursive_read_only=8:bool image=9:ImageSpec image_sub_path=10:string",
    "Namespace": "options=2:NamespaceOption",
    "NamespaceOption": "network=1:int32 pid=2:int32 ipc=3:int32 target_id=4:string",
    "PodIP": "ip=1:string",
    "PodSandbox": "id=1:string metadata=2:PodSandboxMetadata state=3:int32 created_at=4:int64 labels=5:map<string> annotations=6:map<string> runtime_handler=7:string",
    "PodSandboxConfig": "metadata=1:PodSandboxMetadata hostname=2:string log_directory=3:string dns_config=4:DNSConfig port_mappings=5:[]PortMapping labels=6:map<string> annotations=7:map<string> linux=8:LinuxPodSandboxConfig",
    "PodSandboxFilter": "id=1:string state=2:PodSandboxStateValue label_selector=3:map<string>",
    "PodSandboxMetadata": "name=1:string uid=2:string namespace=3:string attempt=4:uint32",
    "PodSandboxNetworkStatus": "ip=1:string additional_ips=2:[]PodIP",
    "PodSandboxStateValue": "state=1:int32",
    "PodSandboxStatus": "id=1:string metadata=2:PodSandboxMetadata state=3:int32 created_at=4:int64 network=5:PodSandboxNetworkStatus linux=6:LinuxPodSandboxStatus labels=7:map<string> annotations=8:map<string> runtime_handler=9:string",
    "PodSandboxStatusRequest": "pod_sandbox_id=1:string verbose=2:bool",
    "PodSandboxStatusResponse": "status=1:PodSandboxStatus info=2:map<string> containers_statuses=3:[]ContainerStatus timestamp=4:int64",
    "PortForwardRequest": "pod_sandbox_id=1:string port=2:[]int32",
    "PortForwardResponse": "url=1:string",
    "PortMapping": "protocol=1:int32 container_port=2:int32 host_port=3:int32 host_ip=4:string",
    "PullImageRequest": "image=1:ImageSpec auth=2:AuthConfig sandbox_config=3:PodSandboxConfig",
    "PullImageResponse": "image_ref=1:string",
    "RemoveContainerRequest": "container_id=1:string",
    "RemoveImageRequest": "image=1:ImageSpec",
    "RemovePodSandboxRequest": "pod_sandbox_id=1:string",
    "ReopenContainerLogRequest": "container_id=1:string",
    "RunPodSandboxRequest": "config=1:PodSandboxConfig runtime_handler=2:string",
    "RunPodSandboxResponse": "pod_sandbox_id=1:string",
    "RuntimeCondition": "type=1:string status=2:bool reason=3:string message=4:string",
    "RuntimeStatus": "conditions=1:[]RuntimeCondition",
    "SecurityProfile": "profile_type=1:int32 localhost_ref=2:string",
    "StartContainerRequest": "container_id=1:string",
    "StatusRequest": "verbose=1:bool",
    "StatusResponse": "status=1:RuntimeStatus info=2:map<string>",
    "StopContainerRequest": "container_id=1:string timeout=2:int64",
    "StopPodSandboxRequest": "pod_sandbox_id=1:string",
    "UpdateContainerResourcesRequest": "container_id=1:string linux=2:LinuxContainerResources annotations=4:map<string>",
    "VersionRequest": "version=1:string",
    "VersionResponse": "version=1:string runtime_name=2:string runtime_version=3:string runtime_api_version=4:string",
}

EVENTS: dict[str, str] = {
    "SubscribeRequest": "filters=1:[]string",
    "Envelope": "timestamp=1:Timestamp namespace=2:string topic=3:string event=4:Any",
    "Timestamp": "seconds=1:int64 nanos=2:int32",
    "Any": "type_url=1:string value=2:bytes",
    "TaskExit": "container_id=1:string id=2:string pid=3:uint32 exit_status=4:uint32 exited_at=5:Timestamp",
    "TaskOOM": "container_id=1:string",
}
"""containerd.services.events.v1 and containerd.events."""

SANDBOX_READY, SANDBOX_NOT_READY = 0, 1
CREATED, RUNNING, EXITED, UNKNOWN = 0, 1, 2, 3
"""ContainerState."""
NAMESPACE_POD, NAMESPACE_CONTAINER, NAMESPACE_NODE, NAMESPACE_TARGET = 0, 1, 2, 3
SECCOMP_RUNTIME_DEFAULT, SECCOMP_UNCONFINED, SECCOMP_LOCALHOST = 0, 1, 2
PROPAGATION = {"None": 0, "HostToContainer": 1, "Bidirectional": 2}
