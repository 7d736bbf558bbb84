"""What is said of addresses and networks that are valid, but not written as they should be. Source: apimachinery's
util/validation/ip.go."""

from __future__ import annotations

from navarch.machinery import names


def ip_warnings(path: str, text: str) -> list[str]:
    if text.isascii() and ":" not in text and names.parse_ip(text) is not None:
        return []
    address = names.parse_ip(names.loose_ip(text))
    if address is None:
        return []
    mapped = address.ipv4_mapped if address.version == 6 else None
    if mapped is not None or names.parse_ip(text) is None:
        return [f'{path}: non-standard IP address "{text}" is invalid: use "{mapped or address}"']
    if str(address) != text:
        return [f'{path}: IPv6 address "{text}" should be in RFC 5952 canonical format ("{address}")']
    return []


def cidr_warnings(path: str, text: str) -> list[str]:
    network = names.parse_cidr(text)
    if network is None or network.version == 4 or str(network) == text:
        return []
    return [f'{path}: IPv6 CIDR value "{text}" should be in RFC 5952 canonical format ("{network}")']
