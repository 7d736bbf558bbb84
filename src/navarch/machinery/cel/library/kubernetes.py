"""Kubernetes' own libraries: quantities, URLs, IP addresses and ranges, named formats, semantic versions."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar
from urllib.parse import SplitResult, parse_qs, quote, urlsplit

from navarch.machinery import names
from navarch.machinery.cel.declarations import Library, library, member, over
from navarch.machinery.cel.library.strings import text_of
from navarch.machinery.cel.types import (
    BOOL,
    CIDR,
    DOUBLE,
    FORMAT,
    INT,
    IP,
    QUANTITY,
    SEMVER,
    STRING,
    URL,
    list_of,
    map_of,
    optional_of,
)
from navarch.machinery.cel.values import MAX_INT, MIN_INT, NONE_, CelError, Optional_, timestamp
from navarch.machinery.quantity import NANO, Quantity


def _tries(parse: Callable[..., Any]) -> Callable[..., bool]:
    def impl(*values: Any) -> bool:
        try:
            parse(*values)
        except CelError:
            return False
        return True

    return impl


# -- quantities


@dataclass(frozen=True, slots=True)
class QuantityValue:
    quantity: Quantity
    cel_type: ClassVar[str] = QUANTITY.name


def quantity(text: Any) -> QuantityValue:
    try:
        return QuantityValue(Quantity.parse(text_of(text)))
    except ValueError as error:
        raise CelError(str(error)) from None


def amount(value: Any) -> Quantity:
    if not isinstance(value, QuantityValue):
        raise TypeError
    return value.quantity


def _operand(value: Any) -> Quantity:
    return Quantity.of(value) if type(value) is int else amount(value)


def _as_integer(value: Any) -> int:
    whole, rest = divmod(amount(value).nano, NANO)
    if rest or not MIN_INT <= whole <= MAX_INT:
        raise CelError("cannot convert value to integer")
    return whole


def _compare(a: Any, b: Any) -> int:
    left, right = amount(a).nano, amount(b).nano
    return (left > right) - (left < right)


# -- URLs


@dataclass(frozen=True, slots=True)
class UrlValue:
    text: str
    parts: SplitResult
    cel_type: ClassVar[str] = URL.name


_BAD_URL = re.compile(r"[\x00-\x20\x7f]|%(?![0-9a-fA-F]{2})", re.ASCII)


def url(text: Any) -> UrlValue:
    """Absolute URI or absolute path, as Go's url.ParseRequestURI."""
    text = text_of(text)
    problem = ""
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError as error:
        parts, problem = urlsplit(""), str(error)
    if not text:
        problem = "empty url"
    elif _BAD_URL.search(text):
        problem = "invalid character in URL"
    elif not parts.scheme and not text.startswith("/"):
        problem = "invalid URI for request"
    if problem:
        raise CelError(f'URL parse error during conversion from string: parse "{text}": {problem}')
    return UrlValue(text, parts)


def _url(read: Callable[[SplitResult], Any]) -> Callable[[Any], Any]:
    def impl(value: Any) -> Any:
        if not isinstance(value, UrlValue):
            raise TypeError
        return read(value.parts)

    return impl


def _hostname(parts: SplitResult) -> str:
    host = parts.netloc.rpartition("@")[2]
    return host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]


# -- addresses


@dataclass(frozen=True, slots=True)
class IpValue:
    address: ipaddress.IPv4Address | ipaddress.IPv6Address
    cel_type: ClassVar[str] = IP.name

    @property
    def cel_size(self) -> int:
        return self.address.max_prefixlen // 8

    @property
    def cel_text(self) -> str:
        return str(self.address)


@dataclass(frozen=True, slots=True)
class CidrValue:
    address: ipaddress.IPv4Address | ipaddress.IPv6Address
    prefix: int
    cel_type: ClassVar[str] = CIDR.name

    @property
    def cel_size(self) -> int:
        return (self.prefix + 7) // 8

    @property
    def cel_text(self) -> str:
        return f"{self.address}/{self.prefix}"

    @property
    def network(self) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
        return ipaddress.ip_network((self.address, self.prefix), strict=False)


def ip(value: Any) -> IpValue:
    if isinstance(value, CidrValue):
        return IpValue(value.address)
    text = text_of(value)
    if "%" in text:
        raise CelError(f'IP address "{text}" with zone value is not allowed')
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        raise CelError(f'IP Address "{text}" parse error during conversion from string: unable to parse IP') from None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        raise CelError(f'IPv4-mapped IPv6 address "{text}" is not allowed')
    return IpValue(address)


def cidr(value: Any) -> CidrValue:
    text = text_of(value)
    address, slash, prefix = text.partition("/")
    problem = f'network address parse error during conversion from string: netip.ParsePrefix("{text}")'
    if not slash or not prefix.isdigit() or (len(prefix) > 1 and prefix[0] == "0") or "%" in address:
        raise CelError(f"{problem}: bad prefix")
    try:
        found = ip(address)
    except CelError:
        raise CelError(f"{problem}: unable to parse IP") from None
    if int(prefix) > found.address.max_prefixlen:
        raise CelError(f"{problem}: prefix length out of range")
    return CidrValue(found.address, int(prefix))


def _is_canonical(text: Any) -> bool:
    return str(ip(text_of(text)).address) == text


def _ip(read: Callable[[Any], bool]) -> Callable[[Any], Any]:
    def impl(value: Any) -> Any:
        if not isinstance(value, IpValue):
            raise TypeError
        return read(value.address)

    return impl


def _is_global(address: Any) -> bool:
    broadcast = str(address) == "255.255.255.255"
    return not (
        address.is_unspecified or address.is_loopback or address.is_multicast or address.is_link_local or broadcast
    )


def _link_local_multicast(address: Any) -> bool:
    if address.version == 4:
        return address in ipaddress.ip_network("224.0.0.0/24")
    return address.packed[0] == 0xFF and address.packed[1] & 0x0F == 0x02


def _cidr_of(value: Any) -> CidrValue:
    if not isinstance(value, CidrValue):
        raise TypeError
    return value


def _contains_ip(range_: Any, value: Any) -> bool:
    found = ip(value) if isinstance(value, str) else value
    if not isinstance(found, IpValue):
        raise TypeError
    return found.address in _cidr_of(range_).network


def _contains_cidr(range_: Any, value: Any) -> bool:
    outer = _cidr_of(range_)
    inner = cidr(value) if isinstance(value, str) else _cidr_of(value)
    return inner.address in outer.network and inner.prefix >= outer.prefix


def _masked(range_: Any) -> CidrValue:
    found = _cidr_of(range_)
    return CidrValue(found.network.network_address, found.prefix)


# -- named formats


@dataclass(frozen=True, slots=True)
class FormatValue:
    name: str
    validate: Callable[[str], list[str]]
    cel_type: ClassVar[str] = FORMAT.name
    max_regex: ClassVar[int] = 128


def _prefixed(rule: Callable[[str], list[str]]) -> Callable[[str], list[str]]:
    return lambda text: rule(names.mask_trailing_dash(text))


def _raises(parse: Callable[[str], Any]) -> Callable[[str], list[str]]:
    def rule(text: str) -> list[str]:
        try:
            parse(text)
        except (CelError, ValueError) as error:
            return [str(error)]
        return []

    return rule


_UUID = re.compile(r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}", re.ASCII)
_BASE64 = re.compile(r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?", re.ASCII)
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)


def _matching(pattern: re.Pattern[str], message: str) -> Callable[[str], list[str]]:
    return lambda text: [] if pattern.fullmatch(text) else [message]


FORMATS: dict[str, FormatValue] = {
    name: FormatValue(name, rule)
    for name, rule in {
        "dns1123Label": names.dns1123_label,
        "dns1123Subdomain": names.dns1123_subdomain,
        "dns1035Label": names.dns1035_label,
        "qualifiedName": names.qualified_name,
        "dns1123LabelPrefix": _prefixed(names.dns1123_label),
        "dns1123SubdomainPrefix": _prefixed(names.dns1123_subdomain),
        "dns1035LabelPrefix": _prefixed(names.dns1035_label),
        "labelValue": names.label_value,
        "uri": _raises(url),
        "uuid": _matching(_UUID, "does not match the UUID format"),
        "byte": _matching(_BASE64, "invalid base64"),
        "date": _matching(_DATE, "invalid date"),
        "datetime": _raises(timestamp),
    }.items()
}


def _named_format(name: Any) -> Optional_:
    found = FORMATS.get(text_of(name))
    return Optional_(found) if found is not None else NONE_


def _validate(format_: Any, text: Any) -> Optional_:
    if not isinstance(format_, FormatValue):
        raise TypeError
    problems = format_.validate(text_of(text))
    return Optional_(problems) if problems else NONE_


# -- semantic versions

_SEMVER = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(?:-([0-9A-Za-z.-]+))?(?:\+([0-9A-Za-z.-]+))?", re.ASCII)


@dataclass(frozen=True, slots=True)
class SemverValue:
    major: int
    minor: int
    patch: int
    pre: tuple[str, ...] = ()
    cel_type: ClassVar[str] = SEMVER.name

    def key(self) -> tuple[Any, ...]:
        pre = tuple((0, int(p), "") if p.isdigit() else (1, 0, p) for p in self.pre)
        return (self.major, self.minor, self.patch, not self.pre, pre)


def semver(text: Any, normalize: Any = False) -> SemverValue:
    text = text_of(text)
    wanted = _normalized(text) if normalize else text
    match = _SEMVER.fullmatch(wanted)
    pre = tuple(match[4].split(".")) if match and match[4] else ()
    if match is None or any(not p or (p.isdigit() and len(p) > 1 and p[0] == "0") for p in pre):
        raise CelError(f"{text} is not a valid semantic version")
    return SemverValue(int(match[1]), int(match[2]), int(match[3]), pre)


def _normalized(text: str) -> str:
    text = text.strip().removeprefix("v")
    core, mark, rest = text, "", ""
    if found := re.search(r"[-+]", text):
        core, mark, rest = text[: found.start()], found.group(), text[found.end() :]
    numbers = [n.lstrip("0") or "0" for n in core.split(".")]
    if mark and len(numbers) < 3:
        raise CelError("short version cannot contain PreRelease/Build meta data")
    return ".".join(numbers + ["0"] * (3 - len(numbers))) + mark + rest


def _semver(value: Any) -> SemverValue:
    if not isinstance(value, SemverValue):
        raise TypeError
    return value


def _semver_compare(a: Any, b: Any) -> int:
    left, right = _semver(a).key(), _semver(b).key()
    return (left > right) - (left < right)


def _either(first: Callable[..., Any], second: Callable[..., Any]) -> Callable[..., Any]:
    """One name for quantities and versions."""

    def impl(*values: Any) -> Any:
        return second(*values) if isinstance(values[0], SemverValue) else first(*values)

    return impl


# -- patches


def _escape_key(text: Any) -> str:
    return text_of(text).replace("~", "~0").replace("/", "~1")


KUBERNETES: Library = library(
    ("quantity", quantity, [over("string_to_quantity", QUANTITY, STRING)]),
    ("isQuantity", _tries(quantity), [over("is_quantity_string", BOOL, STRING)]),
    ("sign", lambda q: amount(q).sign, [member("quantity_sign", INT, QUANTITY)]),
    ("isInteger", _tries(_as_integer), [member("quantity_is_integer", BOOL, QUANTITY)]),
    ("asInteger", _as_integer, [member("quantity_get_int", INT, QUANTITY)]),
    ("asApproximateFloat", lambda q: amount(q).nano / NANO, [member("quantity_get_float", DOUBLE, QUANTITY)]),
    ("add", lambda a, b: QuantityValue(amount(a) + _operand(b)), [
        member("quantity_add", QUANTITY, QUANTITY, QUANTITY),
        member("quantity_add_int", QUANTITY, QUANTITY, INT),
    ]),
    ("sub", lambda a, b: QuantityValue(amount(a) - _operand(b)), [
        member("quantity_sub", QUANTITY, QUANTITY, QUANTITY),
        member("quantity_sub_int", QUANTITY, QUANTITY, INT),
    ]),
    ("isGreaterThan", _either(lambda a, b: _compare(a, b) > 0, lambda a, b: _semver_compare(a, b) > 0), [
        member("quantity_is_greater_than", BOOL, QUANTITY, QUANTITY),
        member("semver_is_greater_than", BOOL, SEMVER, SEMVER),
    ]),
    ("isLessThan", _either(lambda a, b: _compare(a, b) < 0, lambda a, b: _semver_compare(a, b) < 0), [
        member("quantity_is_less_than", BOOL, QUANTITY, QUANTITY),
        member("semver_is_less_than", BOOL, SEMVER, SEMVER),
    ]),
    ("compareTo", _either(_compare, _semver_compare), [
        member("quantity_compare_to", INT, QUANTITY, QUANTITY),
        member("semver_compare_to", INT, SEMVER, SEMVER),
    ]),
    ("url", url, [over("string_to_url", URL, STRING)]),
    ("isURL", _tries(url), [over("is_url_string", BOOL, STRING)]),
    ("getScheme", _url(lambda p: p.scheme), [member("url_get_scheme", STRING, URL)]),
    ("getHost", _url(lambda p: p.netloc.rpartition("@")[2]), [member("url_get_host", STRING, URL)]),
    ("getHostname", _url(_hostname), [member("url_get_hostname", STRING, URL)]),
    ("getPort", _url(lambda p: str(p.port) if p.port is not None else ""), [member("url_get_port", STRING, URL)]),
    ("getEscapedPath", _url(lambda p: quote(p.path, safe="/%:@!$&'()*+,;=~-._")), [
        member("url_get_escaped_path", STRING, URL),
    ]),
    ("getQuery", _url(lambda p: parse_qs(p.query, keep_blank_values=True)), [
        member("url_get_query", map_of(STRING, list_of(STRING)), URL),
    ]),
    ("ip", ip, [over("string_to_ip", IP, STRING), member("cidr_ip", IP, CIDR)]),
    ("isIP", _tries(ip), [over("is_ip", BOOL, STRING)]),
    ("ip.isCanonical", _is_canonical, [over("ip_is_canonical", BOOL, STRING)]),
    ("family", _ip(lambda a: a.version), [member("ip_family", INT, IP)]),
    ("isUnspecified", _ip(lambda a: a.is_unspecified), [member("ip_is_unspecified", BOOL, IP)]),
    ("isLoopback", _ip(lambda a: a.is_loopback), [member("ip_is_loopback", BOOL, IP)]),
    ("isLinkLocalMulticast", _ip(_link_local_multicast), [member("ip_is_link_local_multicast", BOOL, IP)]),
    ("isLinkLocalUnicast", _ip(lambda a: a.is_link_local), [member("ip_is_link_local_unicast", BOOL, IP)]),
    ("isGlobalUnicast", _ip(_is_global), [member("ip_is_global_unicast", BOOL, IP)]),
    ("cidr", cidr, [over("string_to_cidr", CIDR, STRING)]),
    ("isCIDR", _tries(cidr), [over("is_cidr", BOOL, STRING)]),
    ("containsIP", _contains_ip, [
        member("cidr_contains_ip_string", BOOL, CIDR, STRING), member("cidr_contains_ip_ip", BOOL, CIDR, IP),
    ]),
    ("containsCIDR", _contains_cidr, [
        member("cidr_contains_cidr_string", BOOL, CIDR, STRING), member("cidr_contains_cidr", BOOL, CIDR, CIDR),
    ]),
    ("masked", _masked, [member("cidr_masked", CIDR, CIDR)]),
    ("prefixLength", lambda c: _cidr_of(c).prefix, [member("cidr_prefix_length", INT, CIDR)]),
    ("string", lambda value: value.cel_text, [over("ip_to_string", STRING, IP), over("cidr_to_string", STRING, CIDR)]),
    ("format.named", _named_format, [over("format-named", optional_of(FORMAT), STRING)]),
    *((f"format.{name}", (lambda value=value: value), [over(f"format-{name}", FORMAT)]) for name, value in FORMATS.items()),
    ("validate", _validate, [member("format-validate", optional_of(list_of(STRING)), FORMAT, STRING)]),
    ("semver", semver, [over("string_to_semver", SEMVER, STRING), over("string_bool_to_semver", SEMVER, STRING, BOOL)]),
    ("isSemver", _tries(semver), [over("is_semver_string", BOOL, STRING), over("is_semver_string_bool", BOOL, STRING, BOOL)]),
    ("major", lambda v: _semver(v).major, [member("semver_major", INT, SEMVER)]),
    ("minor", lambda v: _semver(v).minor, [member("semver_minor", INT, SEMVER)]),
    ("patch", lambda v: _semver(v).patch, [member("semver_patch", INT, SEMVER)]),
)  # fmt: skip
JSON_PATCHES: Library = library(
    ("jsonpatch.escapeKey", _escape_key, [over("string_jsonpatch_escapeKey", STRING, STRING)]),
)  # fmt: skip
