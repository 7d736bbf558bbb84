"""A pod's view of names: resolv.conf, hosts, and its own host name. Pure functions, upstream's network/dns package."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from navarch.machinery.types import Obj

Tree = dict[str, Any]

MAX_SEARCHES, MAX_SEARCH_CHARACTERS = 32, 2048


@dataclass(frozen=True, slots=True)
class NodeDns:
    """The node's own resolver configuration, and the cluster's."""

    servers: tuple[str, ...]
    searches: tuple[str, ...]
    options: tuple[str, ...]
    cluster_dns: str
    cluster_domain: str


def read_resolv_conf(text: str) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """(name servers, search domains, options)."""
    servers: list[str] = []
    searches: list[str] = []
    options: list[str] = []
    for line in text.splitlines():
        words = line.split("#")[0].split()
        if len(words) < 2:
            continue
        if words[0] == "nameserver":
            servers.append(words[1])
        elif words[0] == "search":
            searches = words[1:]
        elif words[0] == "options":
            options = words[1:]
    return tuple(servers), tuple(searches), tuple(options)


def dns_config(pod: Obj, node: NodeDns) -> Tree:
    """The CRI's DNSConfig for the pod's dnsPolicy."""
    spec, namespace = pod["spec"], pod["metadata"]["namespace"]
    policy = spec.get("dnsPolicy", "ClusterFirst")
    if policy == "ClusterFirst" and spec.get("hostNetwork"):
        policy = "Default"
    own = spec.get("dnsConfig") or {}
    servers: Sequence[str] = ()
    searches: Sequence[str] = ()
    options: list[str] = []
    if policy in ("ClusterFirst", "ClusterFirstWithHostNet"):
        domain = node.cluster_domain
        servers = (node.cluster_dns,)
        searches = (f"{namespace}.svc.{domain}", f"svc.{domain}", domain, *node.searches)
        options = ["ndots:5"]
    elif policy == "Default":
        servers, searches, options = node.servers, node.searches, list(node.options)
    for option in own.get("options") or []:
        options = [o for o in options if o.partition(":")[0] != option["name"]]
        options.append(f"{option['name']}:{option['value']}" if option.get("value") else option["name"])
    return {
        "servers": list(dict.fromkeys([*servers, *(own.get("nameservers") or [])]))[:3],
        "searches": _fitting(dict.fromkeys([*searches, *(own.get("searches") or [])])),
        "options": options,
    }


def _fitting(searches: Iterable[str]) -> list[str]:
    """As many of the search paths as resolv.conf may hold (upstream's limits, which the API server knows too)."""
    found: list[str] = []
    for search in searches:
        if len(found) == MAX_SEARCHES or len(" ".join([*found, search])) > MAX_SEARCH_CHARACTERS:
            break
        found.append(search)
    return found


def hostname(pod: Obj, domain: str) -> tuple[str, str]:
    """(host name, its domain or "") of a pod."""
    spec, meta = pod["spec"], pod["metadata"]
    host = (spec.get("hostnameOverride") or spec.get("hostname") or meta["name"])[:63].rstrip("-.")
    if not spec.get("subdomain"):
        return host, ""
    full = f"{spec['subdomain']}.{meta['namespace']}.svc.{domain}"
    return (f"{host}.{full}" if spec.get("setHostnameAsFQDN") else host), full


def hosts_file(pod: Obj, ips: Sequence[str], domain: str) -> str:
    """/etc/hosts of the pod's containers."""
    host, full = hostname(pod, domain)
    lines = [
        "# Kubernetes-managed hosts file.",
        "127.0.0.1\tlocalhost",
        "::1\tlocalhost ip6-localhost ip6-loopback",
        "fe00::0\tip6-localnet",
        "fe00::0\tip6-mcastprefix",
        "fe00::1\tip6-allnodes",
        "fe00::2\tip6-allrouters",
    ]
    short = host.partition(".")[0]
    lines += [f"{ip}\t{short}.{full}\t{short}" if full else f"{ip}\t{host}" for ip in ips]
    aliases = pod["spec"].get("hostAliases") or []
    if aliases:
        lines += ["", "# Entries added by HostAliases."]
        lines += ["\t".join([alias["ip"], *(alias.get("hostnames") or [])]) for alias in aliases]
    return "\n".join(lines) + "\n"
