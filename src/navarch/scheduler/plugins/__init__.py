"""The scheduling framework's plugins, one file each: which nodes are out, why, and how good the others are.

A `NodePlugin` depends on a node's own object and the pod's placement only: its verdict for a class of pods is kept and
renewed for changed nodes. A `UsagePlugin` depends on what is requested on the nodes and works on whole arrays. A
`PodPlugin` sees the pod and the whole cluster.
"""

from __future__ import annotations

from navarch.scheduler.plugins.affinity import NodeAffinity
from navarch.scheduler.plugins.dynamicresources import DynamicResources
from navarch.scheduler.plugins.images import ImageLocality
from navarch.scheduler.plugins.interpod import InterPodAffinity
from navarch.scheduler.plugins.nodename import NodeName
from navarch.scheduler.plugins.ports import NodePorts
from navarch.scheduler.plugins.resources import NodeResourcesBalancedAllocation, NodeResourcesFit
from navarch.scheduler.plugins.spread import PodTopologySpread
from navarch.scheduler.plugins.taints import NodeUnschedulable, TaintToleration
from navarch.scheduler.plugins.volumelimits import NodeVolumeLimits, VolumeRestrictions
from navarch.scheduler.plugins.volumes import VolumeBinding, VolumeZone

__all__ = [
    "DynamicResources",
    "ImageLocality",
    "InterPodAffinity",
    "NodeAffinity",
    "NodeName",
    "NodePorts",
    "NodeResourcesBalancedAllocation",
    "NodeResourcesFit",
    "NodeUnschedulable",
    "NodeVolumeLimits",
    "PodTopologySpread",
    "TaintToleration",
    "VolumeBinding",
    "VolumeRestrictions",
    "VolumeZone",
]
