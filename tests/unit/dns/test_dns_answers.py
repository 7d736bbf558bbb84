"""What the cluster DNS answers, byte by byte through its own wire format (the Kubernetes DNS specification)."""

from __future__ import annotations

import ipaddress
import struct
from typing import Any

import pytest

from navarch.dns import wire
from navarch.dns.answers import answer
from navarch.dns.records import Zone

DOMAIN = "cluster.local"


def query(name: str, kind: int = wire.A, *, edns: int = 0) -> wire.Question:
    extra = struct.pack("!BHHIH", 0, wire.OPT, edns, 0, 0) if edns else b""
    header = struct.pack("!6H", 7, wire.RD, 1, 0, 0, 1 if edns else 0)
    return wire.parse_question(header + wire.pack_name(name) + struct.pack("!HH", kind, wire.IN) + extra)


def service(name: str, *, ip: str = "10.96.0.20", ports: list[Any] | None = None, **spec: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"clusterIP": ip, "clusterIPs": [ip], "ports": ports or [{"port": 80, "name": "http"}], **spec},
    }


def endpoints(*found: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"addressType": "IPv4", "ports": [{"name": "http", "port": 8080}], "endpoints": list(found)}]


@pytest.fixture
def zone() -> Zone:
    zone = Zone(DOMAIN)
    zone.set_service("default", "web", service("web"), [])
    zone.set_service(
        "default",
        "db",
        service("db", ip="None"),
        endpoints(
            {"addresses": ["10.244.0.5"], "hostname": "db-0", "conditions": {"ready": True}},
            {"addresses": ["10.244.0.6"], "conditions": {"ready": True}},
            {"addresses": ["10.244.0.7"], "conditions": {"ready": False}},
        ),
    )
    external = service("out", ip="", type="ExternalName", externalName="Example.ORG.")
    zone.set_service("default", "out", external, [])
    return zone


def ask(zone: Zone, name: str, kind: int = wire.A, rotation: int = 0) -> tuple[int, list[tuple[int, bytes]]]:
    """(response code, [(type, data)]) of the answer section."""
    packed = answer(zone, query(name, kind), rotation, 4096)
    assert packed is not None
    _, flags, _, answers, _, _ = struct.unpack_from("!6H", packed)
    at = 12 + len(wire.pack_name(name)) + 4
    found: list[tuple[int, bytes]] = []
    for _ in range(answers):
        assert packed[at : at + 2] == b"\xc0\x0c"
        record, _, _, length = struct.unpack_from("!HHIH", packed, at + 2)
        found.append((record, packed[at + 12 : at + 12 + length]))
        at += 12 + length
    return flags & 15, found


def addresses(found: list[tuple[int, bytes]]) -> list[str]:
    return [str(ipaddress.ip_address(data)) for kind, data in found if kind in (wire.A, wire.AAAA)]


def test_a_service_has_its_cluster_ip(zone: Zone) -> None:
    assert ask(zone, "web.default.svc.cluster.local") == (0, [(wire.A, bytes([10, 96, 0, 20]))])


def test_names_are_case_insensitive_and_come_back_as_asked(zone: Zone) -> None:
    packed = answer(zone, query("WEB.default.SVC.cluster.local"), 0, 4096)
    assert packed and wire.pack_name("WEB.default.SVC.cluster.local") in packed
    assert struct.unpack_from("!6H", packed)[3] == 1


def test_a_headless_service_has_its_ready_endpoints(zone: Zone) -> None:
    code, found = ask(zone, "db.default.svc.cluster.local")
    assert code == 0 and addresses(found) == ["10.244.0.5", "10.244.0.6"]
    _, turned = ask(zone, "db.default.svc.cluster.local", rotation=1)
    assert addresses(turned) == ["10.244.0.6", "10.244.0.5"]


def test_endpoints_have_names_of_their_own(zone: Zone) -> None:
    assert addresses(ask(zone, "db-0.db.default.svc.cluster.local")[1]) == ["10.244.0.5"]
    assert addresses(ask(zone, "10-244-0-6.db.default.svc.cluster.local")[1]) == ["10.244.0.6"]


def test_srv_records_name_port_and_target(zone: Zone) -> None:
    _, found = ask(zone, "_http._tcp.web.default.svc.cluster.local", wire.SRV)
    assert found == [(wire.SRV, wire.pack_srv(80, "web.default.svc.cluster.local"))]
    _, headless = ask(zone, "_http._tcp.db.default.svc.cluster.local", wire.SRV)
    assert (wire.SRV, wire.pack_srv(8080, "db-0.db.default.svc.cluster.local")) in headless


def test_external_names_are_aliases(zone: Zone) -> None:
    assert ask(zone, "out.default.svc.cluster.local") == (0, [(wire.CNAME, wire.pack_name("example.org"))])


def test_reverse_names(zone: Zone) -> None:
    assert ask(zone, "20.0.96.10.in-addr.arpa", wire.PTR)[1] == [
        (wire.PTR, wire.pack_name("web.default.svc.cluster.local"))
    ]
    assert answer(zone, query("9.9.9.9.in-addr.arpa", wire.PTR), 0, 4096) is None


def test_pods_have_names_made_of_their_address(zone: Zone) -> None:
    assert addresses(ask(zone, "10-244-0-9.default.pod.cluster.local")[1]) == ["10.244.0.9"]
    assert ask(zone, "10-244-0-999.default.pod.cluster.local")[0] == wire.NXDOMAIN


def test_what_does_not_exist_and_what_has_no_such_record_differ(zone: Zone) -> None:
    assert ask(zone, "nope.default.svc.cluster.local") == (wire.NXDOMAIN, [])
    assert ask(zone, "web.default.svc.cluster.local", wire.AAAA) == (wire.NOERROR, [])
    assert ask(zone, "default.svc.cluster.local") == (wire.NOERROR, [])


def test_other_names_are_not_ours(zone: Zone) -> None:
    assert answer(zone, query("example.org"), 0, 4096) is None


def test_a_removed_service_is_forgotten(zone: Zone) -> None:
    assert zone.set_service("default", "web", None, [])
    assert ask(zone, "web.default.svc.cluster.local")[0] == wire.NXDOMAIN
    assert not zone.set_service("default", "web", None, [])


def test_large_answers_are_truncated_over_udp() -> None:
    zone = Zone(DOMAIN)
    many = [{"addresses": [f"10.244.1.{i}"]} for i in range(1, 200)]
    zone.set_service("default", "big", service("big", ip="None"), endpoints(*many))
    name = "big.default.svc.cluster.local"
    short = answer(zone, query(name), 0, wire.MAX_UDP)
    assert short and len(short) <= 512 and struct.unpack_from("!6H", short)[1] & wire.TC
    whole = answer(zone, query(name), 0, 65535)
    assert whole and struct.unpack_from("!6H", whole)[3] == 199


@pytest.mark.parametrize("junk", [b"", b"\0" * 11, b"\0" * 12, b"\0\7\1\0\0\1\0\0\0\0\0\0\x3fabc", b"\xff" * 40])
def test_junk_is_refused_and_answers_are_not_answered(junk: bytes) -> None:
    with pytest.raises(wire.FormatError):
        wire.parse_question(junk)
