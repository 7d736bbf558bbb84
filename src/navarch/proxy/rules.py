"""From what is to be forwarded to nftables: pure functions from Ports to text.

One table with flat maps, so that a packet costs the same at any number of services and a changed endpoint is a
change of a few map elements:

    services    address . protocol . port -> goto pick-N    (N: how many endpoints)
    pick-N      puts a random index below N into the packet mark, then
    endpoints   address . protocol . port . index -> endpoint address . port

Node ports work alike, with the mark's high bit telling the masquerade rule. Only a service with session affinity has a
chain of its own. Whatever still has a service address after translation has no endpoints, and is rejected; so is what goes to a
service's address outside that range (`refused`).

Host ports answer on the loopback address too. Such packets need a source that pods can answer to, and the bridge a setting
(routes.loopback) under which pods could reach what listens on the node's loopback: they are kept from that first of all.

What belongs to no connection that the kernel knows (a late packet, outside the window) is not passed to or from pods: untranslated, it
would make the other side reset a connection that is well.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from navarch.proxy.services import Front, Port

MASQUERADE_BIT = 0x10000
"""In the packet mark: this packet's source must become the node's."""


class Settings(NamedTuple):
    """What does not change while a node runs."""

    table: str
    pod_cidr: str
    service_cidr: str
    bridge: str
    bridge_netfilter: bool = True
    """Whether replies between pods of one bridge pass the rules (br_netfilter); without it they are masqueraded."""


@dataclass(slots=True)
class Ruleset:
    """The parts that change: map and set elements, and the chains of services with session affinity."""

    elements: dict[str, dict[str, str]] = field(default_factory=dict)
    """Map name -> key -> value; a set's values are empty."""
    counts: set[int] = field(default_factory=set)
    """Which pick-N chains are needed."""
    chains: dict[str, str] = field(default_factory=dict)
    """Chain of a service with session affinity -> its rules."""
    clients: dict[str, int] = field(default_factory=dict)
    """Set of the clients that one endpoint remembers (named as its chain) -> seconds."""


MAPS = {
    "services": "map {name} {{ type ipv4_addr . inet_proto . inet_service : verdict; }}",
    "node-ports": "map {name} {{ type inet_proto . inet_service : verdict; }}",
    "endpoints": "map {name} {{ type ipv4_addr . inet_proto . inet_service . mark : ipv4_addr . inet_service; }}",
    "node-port-endpoints": "map {name} {{ type inet_proto . inet_service . mark : ipv4_addr . inet_service; }}",
    "refused": "set {name} {{ type ipv4_addr . inet_proto . inet_service; }}",
    "hairpins": "set {name} {{ type ipv4_addr . ipv4_addr; }}",
}


def ruleset(ports: Iterable[Port]) -> Ruleset:
    """The changing parts for these ports. Of two ports with one front the first wins."""
    result = Ruleset({name: {} for name in MAPS})
    services, node_ports = result.elements["services"], result.elements["node-ports"]
    for port in ports:
        front = port.front
        key = _front_key(front)
        table = services if front.address else node_ports
        if key in table:
            continue
        if not port.endpoints:
            if front.address:
                result.elements["refused"][key] = ""
            continue
        for endpoint in port.endpoints:
            result.elements["hairpins"][f"{endpoint.address} . {endpoint.address}"] = ""
        if port.affinity_seconds:
            chain = f"{_affinity_name(front)}-{port.affinity_seconds}"  # a set's timeout cannot be changed
            _add_affinity_chains(result, port, chain)
            table[key] = f"goto {chain}"
            continue
        offset = MASQUERADE_BIT if port.masquerade else 0
        count = len(port.endpoints)
        result.counts.add(count)
        table[key] = f"goto {_pick(front, count, port.masquerade)}"
        endpoints = result.elements["endpoints" if front.address else "node-port-endpoints"]
        for index, endpoint in enumerate(port.endpoints):
            endpoints[f"{key} . {index + offset:#x}"] = f"{endpoint.address} . {endpoint.port}"
    return result


def _front_key(front: Front) -> str:
    prefix = f"{front.address} . " if front.address else ""
    return f"{prefix}{front.protocol} . {front.port}"


def _pick(front: Front, count: int, masquerade: bool) -> str:
    return f"pick-{'service' if front.address else 'node'}-{'masquerade-' if masquerade else ''}{count}"


def _pick_chains(count: int) -> Iterable[tuple[str, str]]:
    for address, endpoints in (
        ("ip daddr . ", "endpoints"),
        ("", "node-port-endpoints"),
    ):
        kind = "service" if address else "node"
        key = f"{address}meta l4proto . th dport . meta mark"
        for infix, offset in (("", 0), ("masquerade-", MASQUERADE_BIT)):
            yield (
                f"pick-{kind}-{infix}{count}",
                f"meta mark set numgen random mod {count} offset {offset} dnat ip to {key} map @{endpoints}",
            )


def _affinity_name(front: Front) -> str:
    return f"affinity-{front.address or 'node'}-{front.protocol}-{front.port}"


def _add_affinity_chains(result: Ruleset, port: Port, chain: str) -> None:
    """A chain that sends a client to where it went before (a set per endpoint), else to a random endpoint."""
    mark = f"meta mark set {MASQUERADE_BIT:#x} " if port.masquerade else ""
    protocol = port.front.protocol
    names: list[str] = []
    for endpoint in port.endpoints:
        name = f"{chain}-{endpoint.address}-{endpoint.port}"
        names.append(name)
        target = f"meta l4proto {protocol} dnat ip to {endpoint.address}:{endpoint.port}"
        result.chains[name] = f"update @{name} {{ ip saddr }} {mark}{target}"
        result.clients[name] = port.affinity_seconds
    known = [f"ip saddr @{name} goto {name}" for name in names]
    choices = ", ".join(f"{i} : goto {name}" for i, name in enumerate(names))
    result.chains[chain] = "\n".join([*known, f"numgen random mod {len(names)} vmap {{ {choices} }}"])


def base(settings: Settings) -> str:
    """The table as it is with no services at all: replaces whatever table of that name there was."""
    maps = "\n".join("  " + text.format(name=name) for name, text in MAPS.items())
    pods, services = settings.pod_cidr, settings.service_cidr
    same_bridge = (
        "" if settings.bridge_netfilter else f"    ct status dnat ip saddr {pods} ip daddr {pods} masquerade\n"
    )
    return f"""\
table ip {settings.table} {{ }}
delete table ip {settings.table}
table ip {settings.table} {{
{maps}
  chain translate {{
    ip daddr . meta l4proto . th dport vmap @services
    ip daddr != 127.0.0.0/8 fib daddr type local meta l4proto . th dport vmap @node-ports
  }}
  chain prerouting {{
    type nat hook prerouting priority dstnat; policy accept;
    meta l4proto {{ tcp, udp, sctp }} goto translate
  }}
  chain output {{
    type nat hook output priority -100; policy accept;
    meta l4proto {{ tcp, udp, sctp }} goto translate
  }}
  chain postrouting {{
    type nat hook postrouting priority srcnat; policy accept;
    meta mark and {MASQUERADE_BIT:#x} == {MASQUERADE_BIT:#x} masquerade
    ct status dnat ip saddr . ip daddr @hairpins masquerade
    ct status dnat ip saddr 127.0.0.0/8 oifname "{settings.bridge}" masquerade
{same_bridge}    ip saddr {pods} ip daddr != {{ {pods}, {services} }} oifname != "{settings.bridge}" masquerade
  }}
  chain from-pods {{
    type filter hook prerouting priority raw; policy accept;
    iifname "{settings.bridge}" ip daddr 127.0.0.0/8 drop
  }}
  chain refuse {{
    meta l4proto tcp reject with tcp reset
    reject with icmp type port-unreachable
  }}
  chain forward {{
    type filter hook forward priority filter; policy accept;
    ip saddr {pods} ct state invalid drop
    ip daddr {pods} ct state invalid drop
    ip daddr {services} goto refuse
    ip daddr . meta l4proto . th dport @refused goto refuse
  }}
  chain local {{
    type filter hook output priority filter; policy accept;
    ip daddr {services} goto refuse
    ip daddr . meta l4proto . th dport @refused goto refuse
  }}
}}
"""


def change(settings: Settings, old: Ruleset, new: Ruleset) -> str:
    """The transaction that turns `old` into `new`; "" where they are alike."""
    table = f"ip {settings.table}"
    lines = _added_chains(table, old, new)
    for name in MAPS:
        before, after = old.elements.get(name, {}), new.elements[name]
        gone = [key for key, value in before.items() if after.get(key) != value]
        added = [key for key, value in after.items() if before.get(key) != value]
        lines += _element_lines("delete", table, name, gone, {})
        lines += _element_lines("add", table, name, added, after)
    lines += _removed_chains(table, old, new)
    return "\n".join(lines) + "\n" if lines else ""


def _added_chains(table: str, old: Ruleset, new: Ruleset) -> list[str]:
    lines: list[str] = []
    for count in sorted(new.counts - old.counts):
        for name, rule in _pick_chains(count):
            lines += [f"add chain {table} {name}", f"add rule {table} {name} {rule}"]
    for name in sorted(new.clients.keys() - old.clients.keys()):
        options = f"type ipv4_addr; size 65536; flags dynamic, timeout; timeout {new.clients[name]}s;"
        lines.append(f"add set {table} {name} {{ {options} }}")
    changed = sorted(name for name, rules in new.chains.items() if old.chains.get(name) != rules)
    lines += [f"add chain {table} {name}" for name in changed]
    for name in changed:
        lines.append(f"flush chain {table} {name}")
        lines += [f"add rule {table} {name} {rule}" for rule in new.chains[name].splitlines()]
    return lines


def _removed_chains(table: str, old: Ruleset, new: Ruleset) -> list[str]:
    removed = sorted(old.chains.keys() - new.chains.keys())
    lines = [f"flush chain {table} {name}" for name in removed]
    lines += [f"delete chain {table} {name}" for name in removed]
    lines += [f"delete set {table} {name}" for name in sorted(old.clients.keys() - new.clients.keys())]
    for count in sorted(old.counts - new.counts):
        lines += [f"delete chain {table} {name}" for name, _ in _pick_chains(count)]
    return lines


def _element_lines(verb: str, table: str, name: str, keys: list[str], values: dict[str, str]) -> list[str]:
    if not keys:
        return []
    elements = ", ".join(f"{key} : {values[key]}" if values.get(key) else key for key in keys)
    return [f"{verb} element {table} {name} {{ {elements} }}"]
