"""Label and field selectors: parsing with upstream's errors, matching, and what an index can use.

Sources: apimachinery pkg/labels/selector.go, pkg/fields/selector.go and apis/meta/v1/helpers.go.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Final, Literal, NamedTuple

from navarch.machinery.errors import FieldErrors
from navarch.machinery.types import Obj

Operator = Literal["=", "==", "!=", "in", "notin", "exists", "!", "gt", "lt"]

MAX_TEXT: Final = 65536
"""Longer selector texts are not cached."""


class Requirement(NamedTuple):
    """One condition on one label; `values` are sorted."""

    key: str
    operator: Operator
    values: tuple[str, ...]

    def matches(self, labels: Mapping[str, str]) -> bool:
        value = labels.get(self.key)
        match self.operator:
            case "=" | "==" | "in":
                return value is not None and value in self.values
            case "!=" | "notin":
                return value is None or value not in self.values
            case "exists":
                return value is not None
            case "!":
                return value is None
            case "gt" | "lt":
                return value is not None and self._compares(value)

    def _compares(self, text: str) -> bool:
        value, limit = _int64(text), _int64(self.values[0])
        if value is None or limit is None:
            return False
        return value > limit if self.operator == "gt" else value < limit

    def __str__(self) -> str:
        joined = ",".join(self.values)
        match self.operator:
            case "exists":
                return self.key
            case "!":
                return "!" + self.key
            case "in" | "notin":
                return f"{self.key} {self.operator} ({joined})"
            case "gt" | "lt":
                return f"{self.key}{'>' if self.operator == 'gt' else '<'}{joined}"
            case _:
                return f"{self.key}{self.operator}{joined}"


class LabelSelector:
    """Requirements that all must hold; `nothing` matches no labels at all."""

    __slots__ = ("_exact", "_others", "nothing", "requirements")

    def __init__(self, requirements: Sequence[Requirement], nothing: bool = False) -> None:
        self.requirements = tuple(sorted(requirements, key=lambda r: r.key))
        self.nothing = nothing
        exact = [r for r in self.requirements if r.operator in ("=", "==")]
        self._exact = tuple((r.key, r.values[0]) for r in exact)
        self._others = tuple(r for r in self.requirements if r.operator not in ("=", "=="))

    @property
    def empty(self) -> bool:
        """Whether it matches everything."""
        return not self.requirements and not self.nothing

    def matches(self, labels: Mapping[str, str]) -> bool:
        if self.nothing:
            return False
        for key, value in self._exact:
            if labels.get(key) != value:
                return False
        return all(requirement.matches(labels) for requirement in self._others)

    def exact(self) -> Mapping[str, str]:
        """The labels that must have one certain value (for an index)."""
        return {r.key: r.values[0] for r in self.requirements if r.operator in ("=", "==", "in") and len(r.values) == 1}

    def __str__(self) -> str:
        return ",".join(map(str, self.requirements))


EVERYTHING: Final = LabelSelector(())
NOTHING: Final = LabelSelector((), nothing=True)


def parse_label_selector(text: str) -> LabelSelector:
    """Reads `a=b,c!=d,e in (x,y),!f,g>1`. Raises ValueError in upstream's words."""
    if len(text) > MAX_TEXT:
        return _parse_labels(text)
    return _parse_labels_cached(text)


def from_label_selector(selector: Obj | None) -> LabelSelector:
    """A metav1.LabelSelector: null matches nothing, an empty one everything. Raises ValueError."""
    if selector is None:
        return NOTHING
    requirements = [_requirement(k, "=", [v]) for k, v in (selector.get("matchLabels") or {}).items()]
    for expression in selector.get("matchExpressions") or ():
        operator = _EXPRESSION_OPERATORS.get(expression.get("operator", ""))
        if operator is None:
            raise ValueError(f'"{expression.get("operator", "")}" is not a valid label selector operator')
        requirements.append(_requirement(expression.get("key", ""), operator, expression.get("values") or []))
    return LabelSelector(requirements) if requirements else EVERYTHING


_EXPRESSION_OPERATORS: Final[Mapping[str, Operator]] = {
    "In": "in",
    "NotIn": "notin",
    "Exists": "exists",
    "DoesNotExist": "!",
}


# -- requirements


_NAME: Final = re.compile(r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]", re.ASCII)
_SUBDOMAIN: Final = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*", re.ASCII)
_RULE: Final = "alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character"
_KEY_WRONG: Final = (
    f"name part must consist of {_RULE} (e.g. 'MyName',  or 'my.name',  or '123-abc', "
    "regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
)
_KEY_SHAPE_WRONG: Final = (
    f"a valid label key must consist of {_RULE} (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for "
    "validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]') with an optional DNS subdomain prefix and '/' "
    "(e.g. 'example.com/MyName')"
)
_PREFIX_WRONG: Final = (
    "prefix part a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and "
    "must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
_VALUE_WRONG: Final = (
    f"a valid label must be an empty string or consist of {_RULE} (e.g. 'MyValue',  or 'my_value',  or '12345', "
    "regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
)


def shown(selector: Obj) -> str:
    """A LabelSelector as Go prints one: `&LabelSelector{MatchLabels:map[string]string{a: b,},MatchExpressions:...}`."""
    labels = "".join(f"{key}: {value}," for key, value in sorted((selector.get("matchLabels") or {}).items()))
    expressions = "".join(
        f"LabelSelectorRequirement{{Key:{e['key']},Operator:{e['operator']},Values:[{' '.join(e.get('values') or ())}],}},"
        for e in selector.get("matchExpressions") or ()
    )
    return (
        f"&LabelSelector{{MatchLabels:map[string]string{{{labels}}},"
        f"MatchExpressions:[]LabelSelectorRequirement{{{expressions}}},}}"
    )


def _key_problems(key: str) -> list[str]:
    prefix, slash, name = key.rpartition("/")
    if "/" in prefix:
        return [_KEY_SHAPE_WRONG]
    problems: list[str] = []
    if slash:
        if not prefix:
            problems.append("prefix part must be non-empty")
        elif len(prefix) > 253:
            problems.append("prefix part must be no more than 253 bytes")
        elif not _SUBDOMAIN.fullmatch(prefix):
            problems.append(_PREFIX_WRONG)
    if not name:
        problems.append("name part must be non-empty")
    elif len(name) > 63:
        problems.append("name part must be no more than 63 bytes")
    if not _NAME.fullmatch(name):
        problems.append(_KEY_WRONG)
    return problems


def _value_problems(value: str) -> list[str]:
    problems: list[str] = []
    if len(value) > 63:
        problems.append("must be no more than 63 bytes")
    if value and not _NAME.fullmatch(value):
        problems.append(_VALUE_WRONG)
    return problems


def _requirement(key: str, operator: Operator, values: Sequence[str]) -> Requirement:
    """Checks and makes a requirement. Raises ValueError as labels.NewRequirement."""
    errs = FieldErrors()
    if problems := _key_problems(key):
        errs.invalid("key", key, "; ".join(problems))
    if operator in ("in", "notin") and not values:
        errs.invalid("values", list(values), "for 'in', 'notin' operators, values set can't be empty")
    elif operator in ("exists", "!") and values:
        errs.invalid("values", list(values), "values set must be empty for exists and does not exist")
    elif operator in ("gt", "lt") and _int64(values[0]) is None:
        errs.invalid("values[0]", values[0], "for 'Gt', 'Lt' operators, the value must be an integer")
    for i, value in enumerate(values):
        if problems := _value_problems(value):
            errs.invalid(f"values[{i}][{key}]", value, "; ".join(problems))
    if errs:
        raise ValueError(_aggregate(errs))
    return Requirement(key, operator, tuple(sorted(values)))


def _aggregate(errs: FieldErrors) -> str:
    messages = list(dict.fromkeys(map(str, errs.items)))
    return messages[0] if len(messages) == 1 else "[" + ", ".join(messages) + "]"


def _int64(text: str) -> int | None:
    if not re.fullmatch(r"[+-]?[0-9]{1,19}", text, re.ASCII):
        return None
    number = int(text)
    return number if -(2**63) <= number < 2**63 else None


# -- the label selector language

_SYMBOLS: Final = ("==", "!=", "=", "!", "(", ")", ",", ">", "<")
_SPECIAL: Final = frozenset("=!(),><")
_SPACE: Final = frozenset(" \t\r\n")
_END: Final = ""
_BINARY: Final = "in, notin, =, ==, !=, gt, lt"
_OPERATORS: Final[Mapping[str, Operator]] = {
    "in": "in",
    "notin": "notin",
    "=": "=",
    "==": "==",
    "!=": "!=",
    ">": "gt",
    "<": "lt",
}


class _Token(NamedTuple):
    kind: Literal["word", "symbol", "end"]
    text: str


def _tokens(text: str) -> list[_Token]:
    tokens: list[_Token] = []
    at, end = 0, len(text)
    while at < end:
        char = text[at]
        if char in _SPACE:
            at += 1
        elif char in _SPECIAL:
            symbol = next(s for s in _SYMBOLS if text.startswith(s, at))
            tokens.append(_Token("symbol", symbol))
            at += len(symbol)
        else:
            start = at
            while at < end and text[at] not in _SPACE and text[at] not in _SPECIAL:
                at += 1
            tokens.append(_Token("word", text[start:at]))
    tokens.append(_Token("end", _END))
    return tokens


class _Parser:
    """Recursive descent over the tokens."""

    def __init__(self, text: str) -> None:
        self.tokens = _tokens(text)
        self.at = 0

    def look(self) -> _Token:
        return self.tokens[self.at]

    def take(self) -> _Token:
        token = self.tokens[self.at]
        self.at = min(self.at + 1, len(self.tokens) - 1)
        return token

    def parse(self) -> list[Requirement]:
        requirements: list[Requirement] = []
        while True:
            token = self.look()
            if token.kind == "end":
                return requirements
            if not self._starts_requirement(token):
                raise ValueError(f"found '{token.text}', expected: !, identifier, or 'end of string'")
            try:
                requirements.append(self.requirement())
            except ValueError as err:
                raise ValueError(f"unable to parse requirement: {err}") from None
            token = self.take()
            if token.kind == "end":
                return requirements
            if token.text != ",":
                raise ValueError(f"found '{token.text}', expected: ',' or 'end of string'")
            if not self._starts_requirement(self.look()):
                raise ValueError(f"found '{self.look().text}', expected: identifier after ','")

    @staticmethod
    def _starts_requirement(token: _Token) -> bool:
        return token.kind == "word" or token == ("symbol", "!")

    def requirement(self) -> Requirement:
        token = self.take()
        negated = token == ("symbol", "!")
        if negated:
            token = self.take()
        if token.kind != "word":
            raise ValueError(f"found '{token.text}', expected: identifier")
        key = token.text
        if problems := _key_problems(key):
            errs = FieldErrors()
            errs.invalid("<nil>", key, "; ".join(problems))
            raise ValueError(str(errs.items[0]))
        if negated:
            return _requirement(key, "!", ())
        if self.look().kind == "end" or self.look().text == ",":
            return _requirement(key, "exists", ())
        token = self.take()
        operator = _OPERATORS.get(token.text)
        if operator is None:
            raise ValueError(f"found '{token.text}', expected: {_BINARY}")
        values = self.value_set() if operator in ("in", "notin") else [self.exact_value()]
        return _requirement(key, operator, sorted(values))

    def exact_value(self) -> str:
        token = self.look()
        if token.kind == "end" or token.text == ",":
            return ""
        token = self.take()
        if token.kind != "word":
            raise ValueError(f"found '{token.text}', expected: identifier")
        return token.text

    def value_set(self) -> set[str]:
        token = self.take()
        if token.text != "(":
            raise ValueError(f"found '{token.text}' expected: '('")
        token = self.look()
        if token.text == ")" and token.kind == "symbol":
            self.take()
            return {""}
        if token.kind != "word" and token.text != ",":
            raise ValueError(f"found '{token.text}', expected: ',', ')' or identifier")
        values: set[str] = set()
        while True:
            token = self.take()
            following = self.look()
            if token.kind == "word":
                values.add(token.text)
                if following.text not in (",", ")") or following.kind != "symbol":
                    raise ValueError(f"found '{following.text}', expected: ',' or ')'")
            elif token.text == ",":
                if not values or following.text in (",", ")"):
                    values.add("")
            else:
                raise ValueError(f"found '{token.text}', expected: ',', or identifier")
            if following == ("symbol", ")"):
                self.take()
                return values


def _parse_labels(text: str) -> LabelSelector:
    return LabelSelector(_Parser(text).parse())


_parse_labels_cached = lru_cache(maxsize=1024)(_parse_labels)


# -- field selectors


class FieldTerm(NamedTuple):
    field: str
    equal: bool
    value: str

    def __str__(self) -> str:
        return f"{self.field}{'=' if self.equal else '!='}{escape_field_value(self.value)}"


class FieldSelector:
    """Terms that all must hold; a field that an object lacks counts as empty."""

    __slots__ = ("terms",)

    def __init__(self, terms: Sequence[FieldTerm]) -> None:
        self.terms = tuple(terms)

    @property
    def empty(self) -> bool:
        return not self.terms

    def matches(self, fields: Mapping[str, str]) -> bool:
        return all((fields.get(field, "") == value) is equal for field, equal, value in self.terms)

    def exact(self) -> Mapping[str, str]:
        """The fields that must have one certain value (for an index)."""
        return {field: value for field, equal, value in self.terms if equal}

    def fields(self) -> list[str]:
        """The names of the fields that it looks at."""
        return [term.field for term in self.terms]

    def __str__(self) -> str:
        return ",".join(map(str, self.terms))


def parse_field_selector(text: str) -> FieldSelector:
    """Reads `metadata.name=x,spec.nodeName!=y`, with `\\`, `,` and `=` escaped by a backslash in values.
    Raises ValueError in upstream's words."""
    return _parse_fields(text) if len(text) > MAX_TEXT else _parse_fields_cached(text)


def escape_field_value(value: str) -> str:
    return re.sub(r"([\\,=])", r"\\\1", value)


def _parse_fields(text: str) -> FieldSelector:
    terms: list[FieldTerm] = []
    for part in sorted(_split_terms(text)):
        if not part:
            continue
        at = part.find("=")
        if at < 0:
            raise ValueError(f"invalid selector: '{text}'; can't understand '{part}'")
        if at and part[at - 1] == "!":
            terms.append(FieldTerm(part[: at - 1], False, _unescape(part[at + 1 :])))
        else:
            rest = part[at + 2 :] if part.startswith("==", at) else part[at + 1 :]
            terms.append(FieldTerm(part[:at], True, _unescape(rest)))
    return FieldSelector(terms)


_parse_fields_cached = lru_cache(maxsize=1024)(_parse_fields)


def _split_terms(text: str) -> list[str]:
    return re.findall(r"(?:^|(?<=,))((?:\\.|[^\\,]|\\$)*)(?:,|$)", text, re.DOTALL) if "\\" in text else text.split(",")


def _unescape(text: str) -> str:
    if "\\" not in text and "," not in text and "=" not in text:
        return text
    out: list[str] = []
    chars = iter(text)
    for char in chars:
        if char == "\\":
            following = next(chars, "")
            if following not in ("\\", ",", "="):
                raise ValueError(f"invalid field selector: invalid escape sequence: \\{following}")
            out.append(following)
        elif char in ",=":
            raise ValueError(f"invalid field selector: unescaped character in value: {ord(char)}")
        else:
            out.append(char)
    return "".join(out)
