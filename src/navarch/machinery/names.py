"""What may be a name, a label, a port, an address: rules as `f(value) -> list of what is wrong` in upstream's words.

Source: apimachinery's util/validation and api/validate/content packages, RFC 1035, 1123 and 5952. The lists are shared
between callers (results are cached): read them, do not change them.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from functools import lru_cache

Rule = Callable[[str], list[str]]

LABEL_LENGTH = 63
SUBDOMAIN_LENGTH = 253
_CACHED_LENGTH = 320
"""Longer values are checked anew each time, so that the caches stay small."""

_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_LABEL_UNDERSCORE = "_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?"
_SUBDOMAIN = f"{_LABEL}(\\.{_LABEL})*"
_SUBDOMAIN_UNDERSCORE = f"{_LABEL_UNDERSCORE}(\\.{_LABEL_UNDERSCORE})*"
_LABEL_1035 = "[a-z]([-a-z0-9]*[a-z0-9])?"
_KEY = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_VALUE = f"({_KEY})?"
_WILDCARD = f"\\*\\.{_SUBDOMAIN}"
_ENV_VAR = "[-._a-zA-Z][-._a-zA-Z0-9]*"
_CONFIG_KEY = "[-._a-zA-Z0-9]+"
_HEADER = "[-A-Za-z0-9]+"
_IDENTIFIER = "[A-Za-z_][A-Za-z0-9_]*"
_PERCENT = "[0-9]+%"
_HTTP_PATH = r"[A-Za-z0-9/\-._~%!$&'()*+,;=:]+"

_ENDS = "and must start and end with an alphanumeric character"
_KEY_CHARACTERS = f"must consist of alphanumeric characters, '-', '_' or '.', {_ENDS}"


def _cached(rule: Rule) -> Rule:
    remembered = lru_cache(maxsize=8192)(rule)

    def check(value: str) -> list[str]:
        return remembered(value) if len(value) <= _CACHED_LENGTH else rule(value)

    check.__doc__ = rule.__doc__
    check.__name__ = rule.__name__
    return check


def _pattern(text: str) -> Callable[[str], re.Match[str] | None]:
    return re.compile(text, re.ASCII).fullmatch


def regex_error(message: str, pattern: str, *examples: str) -> str:
    """How upstream words a mismatch."""
    if not examples:
        return f"{message} (regex used for validation is '{pattern}')"
    shown = " or ".join(f"'{example}', " for example in examples)
    return f"{message} (e.g. {shown}regex used for validation is '{pattern}')"


def longer_than(value: str, limit: int) -> bool:
    """Whether the UTF-8 form has more bytes than `limit`."""
    return len(value) > limit or (not value.isascii() and len(value.encode()) > limit)


def _too_long(limit: int, unit: str) -> str:
    return f"must be no more than {limit} {unit}"


def in_range(value: int, low: int, high: int) -> list[str]:
    return [] if low <= value <= high else [f"must be between {low} and {high}, inclusive"]


_is_label = _pattern(_LABEL)
_is_subdomain = _pattern(_SUBDOMAIN)
_is_subdomain_underscore = _pattern(_SUBDOMAIN_UNDERSCORE)
_is_label_1035 = _pattern(_LABEL_1035)
_is_key = _pattern(_KEY)
_is_value = _pattern(_VALUE)
_is_wildcard = _pattern(_WILDCARD)
_is_env_var = _pattern(_ENV_VAR)
_is_config_key = _pattern(_CONFIG_KEY)
_is_header = _pattern(_HEADER)
_is_identifier = _pattern(_IDENTIFIER)
_is_percent = _pattern(_PERCENT)
_is_http_path = _pattern(_HTTP_PATH)
_is_port_name = _pattern("[-a-z0-9]+")
_has_letter = re.compile("[a-z]").search


@_cached
def dns1123_label(value: str) -> list[str]:
    wrong = [_too_long(LABEL_LENGTH, "characters")] if longer_than(value, LABEL_LENGTH) else []
    if not _is_label(value):
        if _is_subdomain(value):
            wrong.append("must not contain dots")
        else:
            message = f"a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', {_ENDS}"
            wrong.append(regex_error(message, _LABEL, "my-name", "123-abc"))
    return wrong


def _subdomain(value: str, unit: str) -> list[str]:
    wrong = [_too_long(SUBDOMAIN_LENGTH, unit)] if longer_than(value, SUBDOMAIN_LENGTH) else []
    if not _is_subdomain(value):
        message = (
            f"a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', {_ENDS}"
        )
        wrong.append(regex_error(message, _SUBDOMAIN, "example.com"))
    return wrong


@_cached
def dns1123_subdomain(value: str) -> list[str]:
    return _subdomain(value, "characters")


@_cached
def dns1123_subdomain_with_underscore(value: str) -> list[str]:
    wrong = [_too_long(SUBDOMAIN_LENGTH, "characters")] if longer_than(value, SUBDOMAIN_LENGTH) else []
    if not _is_subdomain_underscore(value):
        message = (
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '_', '-' or '.', "
            f"{_ENDS}"
        )
        wrong.append(regex_error(message, _SUBDOMAIN_UNDERSCORE, "example.com"))
    return wrong


@_cached
def wildcard_dns1123_subdomain(value: str) -> list[str]:
    wrong = [_too_long(SUBDOMAIN_LENGTH, "characters")] if longer_than(value, SUBDOMAIN_LENGTH) else []
    if not _is_wildcard(value):
        message = (
            "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist "
            "of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character"
        )
        wrong.append(regex_error(message, _WILDCARD, "*.example.com"))
    return wrong


@_cached
def dns1035_label(value: str) -> list[str]:
    wrong = [_too_long(LABEL_LENGTH, "characters")] if longer_than(value, LABEL_LENGTH) else []
    if not _is_label_1035(value):
        message = (
            "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic "
            "character, and end with an alphanumeric character"
        )
        wrong.append(regex_error(message, _LABEL_1035, "my-name", "abc-123"))
    return wrong


@_cached
def qualified_name(value: str) -> list[str]:
    """A label key: a name of up to 63 bytes, with an optional DNS subdomain and a slash before it."""
    if value.count("/") > 1:
        return [
            "a valid label key "
            + regex_error(_KEY_CHARACTERS, _KEY, "MyName", "my.name", "123-abc")
            + " with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
        ]
    prefix, slash, name = value.rpartition("/")
    wrong: list[str] = []
    if slash and not prefix:
        wrong.append("prefix part must be non-empty")
    elif slash:
        wrong.extend(f"prefix part {message}" for message in _subdomain(prefix, "bytes"))
    if not name:
        wrong.append("name part must be non-empty")
    elif longer_than(name, LABEL_LENGTH):
        wrong.append("name part " + _too_long(LABEL_LENGTH, "bytes"))
    if not _is_key(name):
        wrong.append("name part " + regex_error(_KEY_CHARACTERS, _KEY, "MyName", "my.name", "123-abc"))
    return wrong


@_cached
def label_value(value: str) -> list[str]:
    wrong = [_too_long(LABEL_LENGTH, "bytes")] if longer_than(value, LABEL_LENGTH) else []
    if not _is_value(value):
        message = (
            "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', " + _ENDS
        )
        wrong.append(regex_error(message, _VALUE, "MyValue", "my_value", "12345"))
    return wrong


def port_num(value: int) -> list[str]:
    return in_range(value, 1, 65535)


@_cached
def port_name(value: str) -> list[str]:
    """An IANA service name (RFC 6335) in lower case."""
    wrong = [_too_long(15, "characters")] if longer_than(value, 15) else []
    if not _is_port_name(value):
        wrong.append("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)")
    if not _has_letter(value):
        wrong.append("must contain at least one letter (a-z)")
    if "--" in value:
        wrong.append("must not contain consecutive hyphens")
    if value.startswith("-") or value.endswith("-"):
        wrong.append("must not begin or end with a hyphen")
    return wrong


def _parent_directory(value: str) -> list[str]:
    if value in (".", ".."):
        return [f"must not be '{value}'"]
    return ["must not start with '..'"] if value.startswith("..") else []


@_cached
def env_var_name(value: str) -> list[str]:
    wrong: list[str] = []
    if not _is_env_var(value):
        message = (
            "a valid environment variable name must consist of alphabetic characters, digits, '_', '-', or '.', and "
            "must not start with a digit"
        )
        wrong.append(regex_error(message, _ENV_VAR, "my.env-name", "MY_ENV.NAME", "MyEnvName1"))
    return wrong + _parent_directory(value)


@_cached
def relaxed_env_var_name(value: str) -> list[str]:
    wrong = [] if value else ["environment variable name must be non-empty"]
    if not value.isascii() or not value.isprintable() or "=" in value:
        wrong.append("a valid environment variable name must consist only of printable ASCII characters other than '='")
    return wrong


@_cached
def config_map_key(value: str) -> list[str]:
    """A key of a ConfigMap or Secret: it becomes a file's name."""
    wrong = [_too_long(SUBDOMAIN_LENGTH, "characters")] if longer_than(value, SUBDOMAIN_LENGTH) else []
    if not _is_config_key(value):
        message = "a valid config key must consist of alphanumeric characters, '-', '_' or '.'"
        wrong.append(regex_error(message, _CONFIG_KEY, "key.name", "KEY_NAME", "key-name"))
    return wrong + _parent_directory(value)


@_cached
def http_header_name(value: str) -> list[str]:
    if _is_header(value):
        return []
    message = "a valid HTTP header must consist of alphanumeric characters or '-'"
    return [regex_error(message, _HEADER, "X-Header-Name")]


@_cached
def c_identifier(value: str) -> list[str]:
    if _is_identifier(value):
        return []
    message = (
        "a valid C identifier must start with alphabetic character or '_', followed by a string of alphanumeric "
        "characters or '_'"
    )
    return [regex_error(message, _IDENTIFIER, "my_name", "MY_NAME", "MyName")]


@_cached
def percent(value: str) -> list[str]:
    if _is_percent(value):
        return []
    message = "a valid percent string must be a numeric string followed by an ending '%'"
    return [regex_error(message, _PERCENT, "1%", "93%")]


@_cached
def path_segment(value: str) -> list[str]:
    """A name that can be one segment of a URL's path."""
    if value in (".", ".."):
        return [f"may not be '{value}'"]
    return [f"may not contain '{c}'" for c in "/%" if c in value]


def http_path(value: str) -> list[str]:
    return [] if _is_http_path(value) else [regex_error("Invalid path", _HTTP_PATH)]


# -- addresses

NOT_AN_IP = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"
NOT_A_CIDR = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"
_LEADING_ZERO = re.compile(r"(?<![0-9a-fA-F:.])0+(?=[0-9])|(?<=\.)0+(?=[0-9])", re.ASCII)

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def parse_ip(value: str) -> Address | None:
    """The address; None where it is none, or has a zone or a leading zero."""
    if "%" in value:
        return None
    try:
        return ipaddress.ip_address(value)
    except ValueError:
        return None


def loose_ip(value: str) -> str:
    """The value without leading zeros in the numbers of an IPv4 address, which were once overlooked."""
    return _LEADING_ZERO.sub("", value) if "." in value else value


def _mapped(address: Address) -> ipaddress.IPv4Address | None:
    return address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None


@_cached
def legacy_ip(value: str) -> list[str]:
    """An address that need not be in canonical form."""
    address = parse_ip(value)
    if address is None:
        return [NOT_AN_IP] if parse_ip(loose_ip(value)) is None else ["must not have leading 0s"]
    return ["must not be an IPv4-mapped IPv6 address"] if _mapped(address) else []


@_cached
def ip(value: str) -> list[str]:
    """An address in canonical form."""
    if wrong := legacy_ip(value):
        return wrong
    canonical = str(ipaddress.ip_address(value))
    return [] if value == canonical else [f'must be in canonical form ("{canonical}")']


is_valid_ip = legacy_ip


def parse_cidr(value: str) -> Network | None:
    """The network of an address and a prefix length; None where it is none. Bits beyond the prefix are cut off."""
    address, slash, length = value.partition("/")
    if not slash or not length.isdecimal() or not length.isascii() or "%" in address:
        return None
    try:
        return ipaddress.ip_network(value, strict=False)
    except ValueError:
        return None


@_cached
def legacy_cidr(value: str) -> list[str]:
    """A network that need not be in canonical form."""
    network = parse_cidr(value)
    if network is None:
        loose = parse_cidr(loose_ip(value))
        return [NOT_A_CIDR] if loose is None else ["must not have leading 0s in IP or prefix length"]
    address, _, length = value.partition("/")
    if len(length) > 1 and length.startswith("0"):
        return ["must not have leading 0s in IP or prefix length"]
    if _mapped(ipaddress.ip_address(address)):
        return ["must not have an IPv4-mapped IPv6 address"]
    if ipaddress.ip_address(address) != network.network_address:
        return ["must not have bits set beyond the prefix length"]
    return []


@_cached
def cidr(value: str) -> list[str]:
    """A network in canonical form."""
    if wrong := legacy_cidr(value):
        return wrong
    canonical = str(parse_cidr(value))
    return [] if value == canonical else [f'must be in canonical form ("{canonical}")']


# -- names that will get a suffix


def mask_trailing_dash(prefix: str) -> str:
    """A name's prefix (generateName) as the rules for whole names judge it: a dash at its end does not count."""
    return prefix[:-2] + "a" if len(prefix) > 1 and prefix.endswith("-") else prefix
