"""What this machine calls itself on the network."""

from __future__ import annotations

import ipaddress
import json
import re
import socket
import subprocess
from typing import Any


def node_name() -> str:
    """The host's name as a node's: lower case, and nothing a label may not hold."""
    name = re.sub(r"[^a-z0-9.-]", "-", socket.gethostname().lower()).strip("-.")
    return name[:63] or "node"


def addresses() -> list[str]:
    """The machine's own IPv4 addresses, that of the default route's interface first; loopback left out."""
    found = [
        info["local"]
        for link in _ip("address")
        for info in link.get("addr_info", [])
        if info.get("family") == "inet" and info.get("scope") == "global"
    ]
    preferred = next((r["dev"] for r in _ip("route", "show", "default") if "dev" in r), "")
    first = [
        info["local"]
        for link in _ip("address")
        if link.get("ifname") == preferred
        for info in link.get("addr_info", [])
        if info.get("family") == "inet" and info.get("scope") == "global"
    ]
    return list(dict.fromkeys([*first, *found]))


def node_ip() -> str:
    """The address other machines (and pods) reach this one at; the loopback's where there is no network at all."""
    return next((a for a in addresses() if not ipaddress.ip_address(a).is_loopback), "127.0.0.1")


def _ip(*words: str) -> list[dict[str, Any]]:
    try:
        done = subprocess.run(["ip", "-json", "-4", *words], capture_output=True, check=False)
    except FileNotFoundError:  # no Linux, or no iproute2: an API server alone needs neither
        return []
    return json.loads(done.stdout or b"[]") if done.returncode == 0 else []
