"""What the proxy forwards where: from Services and EndpointSlices to nftables elements."""

from __future__ import annotations

from typing import Any

import pytest

from navarch.proxy import rules
from navarch.proxy.services import Endpoint, Front, Place, Port, host_ports, is_ours, service_ports

SETTINGS = rules.Settings("navarch-test", "10.244.0.0/16", "10.96.0.0/16", "nv0")


def service(**spec: Any) -> dict[str, Any]:
    base = {"clusterIP": "10.96.0.20", "clusterIPs": ["10.96.0.20"], "type": "ClusterIP"}
    ports = [{"port": 80, "protocol": "TCP", "targetPort": 8080}]
    return {"metadata": {"name": "web", "namespace": "default"}, "spec": {**base, "ports": ports, **spec}}


def piece(*endpoints: dict[str, Any]) -> dict[str, Any]:
    return {
        "metadata": {"name": "web-1", "namespace": "default", "labels": {"kubernetes.io/service-name": "web"}},
        "addressType": "IPv4",
        "ports": [{"port": 8080, "name": "", "protocol": "TCP"}],
        "endpoints": list(endpoints),
    }


def endpoint(last: int, node: str = "a", **conditions: bool) -> dict[str, Any]:
    return {"addresses": [f"10.244.0.{last}"], "nodeName": node, "conditions": {"ready": True, **conditions}}


def forwarded(spec: dict[str, Any], *endpoints: dict[str, Any], zone: str = "") -> dict[Front, tuple[str, ...]]:
    ports = service_ports(service(**spec), [piece(*endpoints)], Place("a", zone))
    return {p.front: tuple(e.address for e in p.endpoints) for p in ports}


def test_a_cluster_ip_goes_to_all_ready_endpoints() -> None:
    found = forwarded({}, endpoint(5), endpoint(6, "b"), endpoint(7, ready=False))
    assert found == {Front("10.96.0.20", "tcp", 80): ("10.244.0.5", "10.244.0.6")}


def test_terminating_endpoints_serve_only_when_no_other_does() -> None:
    dying = endpoint(7, ready=False, serving=True, terminating=True)
    assert forwarded({}, endpoint(5), dying) == {Front("10.96.0.20", "tcp", 80): ("10.244.0.5",)}
    assert forwarded({}, dying) == {Front("10.96.0.20", "tcp", 80): ("10.244.0.7",)}


def hinted(last: int, zones: str = "", nodes: str = "", **conditions: bool) -> dict[str, Any]:
    hints = {"forZones": [{"name": z} for z in zones.split()], "forNodes": [{"name": n} for n in nodes.split()]}
    return {**endpoint(last, "b", **conditions), "hints": hints}


@pytest.mark.parametrize(
    ("zone", "endpoints", "chosen"),
    [
        ("x", [hinted(1, "x"), hinted(2, "y"), hinted(3, "x y")], [1, 3]),
        ("z", [hinted(1, "x"), hinted(2, "y")], [1, 2]),  # none is for this zone
        ("", [hinted(1, "x"), hinted(2, "y")], [1, 2]),  # the node has no zone
        ("x", [hinted(1, "x"), endpoint(2)], [1, 2]),  # one has no hint
        ("x", [hinted(1, "x", ready=False), hinted(2, "y")], [2]),  # the only one near is not ready
        ("x", [hinted(1, "x", "a"), hinted(2, "x", "b")], [1]),  # the node's own
        ("x", [hinted(1, "x", "c"), hinted(2, "y", "b")], [1]),  # none on the node: its zone's
    ],
)
def test_traffic_stays_near_where_hints_say_so(zone: str, endpoints: list[dict[str, Any]], chosen: list[int]) -> None:
    (found,) = forwarded({}, *endpoints, zone=zone).values()
    assert found == tuple(f"10.244.0.{last}" for last in chosen)


def test_local_policies_know_no_hints() -> None:
    away = {**endpoint(1), "hints": {"forZones": [{"name": "y"}]}}
    found = forwarded({"internalTrafficPolicy": "Local"}, away, hinted(2, "x"), zone="x")
    assert list(found.values()) == [("10.244.0.1",)]


def test_node_ports_are_on_every_address_of_the_node_and_masqueraded() -> None:
    spec = {"type": "NodePort", "ports": [{"port": 80, "nodePort": 30080, "protocol": "TCP"}]}
    ports = service_ports(service(**spec), [piece(endpoint(5))], Place("a"))
    assert Port(Front("", "tcp", 30080), (Endpoint("10.244.0.5", 8080),), 0, True) in ports


def test_a_local_policy_keeps_to_the_node_and_keeps_the_source() -> None:
    spec = {
        "type": "NodePort",
        "externalTrafficPolicy": "Local",
        "ports": [{"port": 80, "nodePort": 30080, "protocol": "TCP"}],
    }
    ports = {p.front: p for p in service_ports(service(**spec), [piece(endpoint(5), endpoint(6, "b"))], Place("a"))}
    outside = ports[Front("", "tcp", 30080)]
    assert [e.address for e in outside.endpoints] == ["10.244.0.5"] and not outside.masquerade
    assert len(ports[Front("10.96.0.20", "tcp", 80)].endpoints) == 2


def test_load_balancer_and_external_addresses_are_forwarded() -> None:
    web = service(type="LoadBalancer", externalIPs=["192.0.2.9"])
    web["status"] = {"loadBalancer": {"ingress": [{"ip": "192.0.2.8"}]}}
    fronts = {p.front.address for p in service_ports(web, [piece(endpoint(5))], Place("a"))}
    assert fronts == {"10.96.0.20", "192.0.2.8", "192.0.2.9"}


def test_headless_and_external_name_services_are_not_forwarded() -> None:
    assert forwarded({"clusterIP": "None", "clusterIPs": ["None"]}, endpoint(5)) == {}
    assert forwarded({"type": "ExternalName"}, endpoint(5)) == {}


def test_host_ports_of_running_pods() -> None:
    pod = {
        "metadata": {"name": "p", "namespace": "default"},
        "spec": {"containers": [{"name": "c", "ports": [{"containerPort": 80, "hostPort": 8081}]}]},
        "status": {"podIP": "10.244.0.9", "phase": "Running"},
    }
    found = {port.front: port.endpoints for port in host_ports([pod])}
    here = (Endpoint("10.244.0.9", 80),)
    assert found == {Front("", "tcp", 8081): here, Front("127.0.0.1", "tcp", 8081): here}
    pod["spec"]["containers"][0]["ports"][0]["hostIP"] = "192.0.2.10"
    assert host_ports([pod]) == [Port(Front("192.0.2.10", "tcp", 8081), here)]
    pod["status"]["phase"] = "Succeeded"
    assert host_ports([pod]) == []


def ports(count: int, affinity: int = 0) -> list[Port]:
    found = tuple(Endpoint(f"10.244.0.{i}", 80) for i in range(2, 2 + count))
    return [Port(Front("10.96.0.20", "tcp", 80), found, affinity)]


def test_the_ruleset_maps_a_service_to_its_count_and_its_endpoints() -> None:
    built = rules.ruleset(ports(2))
    assert built.elements["services"] == {"10.96.0.20 . tcp . 80": "goto pick-service-2"}
    assert built.elements["endpoints"] == {
        "10.96.0.20 . tcp . 80 . 0x0": "10.244.0.2 . 80",
        "10.96.0.20 . tcp . 80 . 0x1": "10.244.0.3 . 80",
    }


def test_a_service_without_endpoints_has_no_element_and_is_refused() -> None:
    assert rules.ruleset(ports(0)).elements["services"] == {}
    assert "ip daddr 10.96.0.0/16 goto refuse" in rules.base(SETTINGS)


def test_an_outside_address_without_endpoints_is_refused_too() -> None:
    built = rules.ruleset([Port(Front("203.0.113.9", "udp", 53), ())])
    assert built.elements["refused"] == {"203.0.113.9 . udp . 53": ""} and built.elements["services"] == {}
    assert rules.base(SETTINGS).count("ip daddr . meta l4proto . th dport @refused goto refuse") == 2


def test_services_of_another_proxy_are_left_alone() -> None:
    label = {"service.kubernetes.io/service-proxy-name": "mine"}
    headless = piece(endpoint(5))
    headless["metadata"]["labels"]["service.kubernetes.io/headless"] = ""
    assert [port.endpoints for port in service_ports(service(), [headless], Place("a"))] == [()]
    assert is_ours(service()) and not is_ours({"metadata": {"name": "web", "labels": label}, "spec": {}})


def test_a_change_touches_only_what_changed() -> None:
    old = rules.ruleset([*ports(2), Port(Front("10.96.0.21", "tcp", 80), (Endpoint("10.244.0.9", 80),))])
    new = rules.ruleset([*ports(3), Port(Front("10.96.0.21", "tcp", 80), (Endpoint("10.244.0.9", 80),))])
    text = rules.change(SETTINGS, old, new)
    assert "10.96.0.21" not in text
    assert "add element ip navarch-test endpoints { 10.96.0.20 . tcp . 80 . 0x2 : 10.244.0.4 . 80 }" in text
    assert rules.change(SETTINGS, new, new) == ""


def test_session_affinity_remembers_clients_per_endpoint() -> None:
    built = rules.ruleset(ports(2, affinity=600))
    assert set(built.clients.values()) == {600} and len(built.clients) == 2
    text = rules.change(SETTINGS, rules.Ruleset(), built)
    assert "timeout 600s" in text and "update @affinity-10.96.0.20-tcp-80-600-10.244.0.2-80 { ip saddr }" in text


def test_another_timeout_of_affinity_is_another_set() -> None:
    old, new = rules.ruleset(ports(1, affinity=600)), rules.ruleset(ports(1, affinity=30))
    text = rules.change(SETTINGS, old, new)
    (gone,), (come,) = old.clients, new.clients
    assert f"delete set ip navarch-test {gone}" in text
    assert (
        f"add set ip navarch-test {come} {{ type ipv4_addr; size 65536; flags dynamic, timeout; timeout 30s; }}" in text
    )


def test_packets_of_no_connection_do_not_reach_pods() -> None:
    assert rules.base(SETTINGS).count("10.244.0.0/16 ct state invalid drop") == 2


def test_pods_are_kept_from_the_nodes_loopback() -> None:
    assert 'iifname "nv0" ip daddr 127.0.0.0/8 drop' in rules.base(SETTINGS)
