"""The configuration in force, as GET /configz shows it: kubelet.config.k8s.io/v1beta1 KubeletConfiguration."""

from __future__ import annotations

from pathlib import Path

from navarch.kubelet import eviction, logs, registration, upkeep
from navarch.kubelet.context import KubeletConfig
from navarch.machinery.types import Obj


def configuration(config: KubeletConfig, socket: Path) -> Obj:
    return {
        "address": "0.0.0.0",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": config.cgroup or "/",
        "clusterDNS": [config.cluster_dns],
        "clusterDomain": config.cluster_domain,
        "containerLogMaxFiles": logs.MAX_FILES,
        "containerLogMaxSize": f"{logs.MAX_BYTES >> 20}Mi",
        "containerRuntimeEndpoint": f"unix://{socket}",
        "cpuCFSQuota": True,
        "evictionHard": dict(config.eviction_hard),
        "evictionPressureTransitionPeriod": f"{int(eviction.TRANSITION_SECONDS) // 60}m0s",
        "imageGCHighThresholdPercent": round(upkeep.HIGH * 100),
        "imageGCLowThresholdPercent": round(upkeep.LOW * 100),
        "imageMinimumGCAge": f"{int(upkeep.MINIMUM_AGE) // 60}m0s",
        "localStorageCapacityIsolation": True,
        "maxPods": config.max_pods,
        "nodeLeaseDurationSeconds": registration.LEASE_SECONDS,
        "nodeStatusReportFrequency": "5m0s",
        "nodeStatusUpdateFrequency": f"{int(registration.STATUS_SECONDS)}s",
        "port": config.port,
        "resolvConf": str(config.resolv_conf),
        "staticPodPath": str(config.manifests) if config.manifests else "",
    }
