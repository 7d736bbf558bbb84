"""The guard: no packet for a pod or a service address ever leaves the machine by the default route.

Set before anything else of a node. A pod address that nobody holds is refused at once; the nodes' own pod ranges are
more specific routes. The service range is routed to the loopback device, where the proxy's rules translate what has
endpoints and reject the rest; local programs reach services with the node's address as their source.
"""

from __future__ import annotations

import subprocess
from contextlib import suppress
from pathlib import Path


class RouteError(Exception):
    """The guard could not be set; nothing else of the node may start."""


def guard(pod_cidr: str, service_cidr: str, node_ip: str) -> None:
    _ip("route", "replace", "unreachable", pod_cidr, "metric", "4096")
    source = ["src", node_ip] if node_ip else []
    _ip("route", "replace", service_cidr, "dev", "lo", *source)


def forwarding() -> None:
    """Lets the kernel route between pods and the world."""
    _sysctl("net/ipv4/ip_forward", "1")


def timeouts() -> None:
    """How long the kernel remembers quiet TCP connections: upstream's values, which clients of Services reckon with."""
    for state, seconds in (("established", 86400), ("close_wait", 3600)):
        with suppress(OSError):  # read-only in some containers, and then as the machine has it
            _sysctl(f"net/netfilter/nf_conntrack_tcp_timeout_{state}", str(seconds))


def loopback(bridge: str) -> bool:
    """Lets answers of pods back to clients on the node's loopback address; False while there is no bridge.

    The rules must keep pods from the loopback address before (CVE-2020-8558)."""
    try:
        _sysctl(f"net/ipv4/conf/{bridge}/route_localnet", "1")
    except FileNotFoundError:
        return False
    return True


def bridge_netfilter() -> bool:
    """Makes packets within a bridge pass the rules; False where this kernel has no br_netfilter."""
    path = Path("/proc/sys/net/bridge/bridge-nf-call-iptables")
    if not path.exists():
        subprocess.run(["modprobe", "br_netfilter"], capture_output=True, check=False)
    try:
        _sysctl("net/bridge/bridge-nf-call-iptables", "1")
    except OSError:
        return False
    return True


def _sysctl(name: str, value: str) -> None:
    path = Path("/proc/sys") / name
    if path.read_text().strip() != value:
        path.write_text(value)


def _ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RouteError(f"ip {' '.join(words)}: {done.stderr.strip()}")
