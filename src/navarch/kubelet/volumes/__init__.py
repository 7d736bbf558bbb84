"""A pod's volumes: one file per source, pure where it can be, and an edge that writes and mounts."""

from navarch.kubelet.volumes.manager import HostVolume, VolumeManager
from navarch.kubelet.volumes.payload import VolumeError

__all__ = ["HostVolume", "VolumeError", "VolumeManager"]
