"""Tokens to a tree, macros included. Recursive descent by the grammar of the CEL specification."""

from __future__ import annotations

from collections.abc import Callable

from navarch.machinery.cel.lexer import RESERVED, Token, int_literal, tokens
from navarch.machinery.cel.syntax import (
    Bind,
    Call,
    CompileError,
    Entry,
    Fold,
    Ident,
    Issue,
    ListNode,
    Literal_,
    MapNode,
    Node,
    Select,
    StructNode,
)

MAX_DEPTH = 50
"""Nesting that is still read: each level takes a dozen frames of the interpreter's stack."""
REST = "'.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER"
STARTS = ("[", "{", "(", ".", "-", "!", "value", "ident")
"""What expressions begin with."""
RELATIONS = ("==", "!=", "<=", ">=", "<", ">", "in")


def parse(text: str) -> Node:
    """Raises CompileError."""
    parser = _Parser(text)
    try:
        node = parser.whole()
    except CompileError as error:
        raise CompileError(text, [*parser.issues, *error.issues]) from None
    if parser.issues:
        raise CompileError(text, parser.issues)
    return node


class _Parser:
    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens, self.issues = tokens(text)
        self.index = 0
        self.arguments = -1
        """Where the arguments of the call that was opened last begin."""
        self.depth = 0

    # -- tokens

    @property
    def token(self) -> Token:
        return self.tokens[self.index]

    def take(self, *kinds: str) -> Token | None:
        token = self.tokens[self.index]
        if token.kind in kinds:
            self.index += 1
            return token
        return None

    def expect(self, kind: str) -> Token:
        token = self.take(kind)
        if token is None:
            raise self.unexpected(f"'{kind}'", (kind,), missing=kind in (")", "]"))
        return token

    def close(self, kind: str) -> None:
        """The end of a list of things."""
        if self.take(kind) is None:
            raise self.unexpected(f"{{'{kind}', ','}}", (kind, ","))

    def plain(self, name: Token) -> None:
        """Names in backquotes are not for Kubernetes."""
        if name.kind == "quoted":
            raise self.error(name.at, "unsupported syntax: '`'")

    def unexpected(self, wanted: str, kinds: tuple[str, ...], missing: bool = False) -> CompileError:
        """As ANTLR's recovery sees it: a token too many where the next one would fit (`kinds`), one too few where the
        text ends without what closes it."""
        token = self.token
        if token.kind == "end" and missing:
            return self.error(token.at, f"Syntax error: missing {wanted} at '<EOF>'")
        extra = token.kind != "end" and self.tokens[self.index + 1].kind in kinds
        word = "extraneous" if extra else "mismatched"
        return self.error(token.at, f"Syntax error: {word} input '{token.text}' expecting {wanted}")

    def error(self, at: int, message: str) -> CompileError:
        return CompileError(self.text, [Issue(at, message)])

    # -- expressions, loosest binding first

    def whole(self) -> Node:
        node = self.expression()
        if self.token.kind != "end":
            raise self.unexpected("<EOF>", ("end",))
        return node

    def expression(self) -> Node:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise self.error(self.token.at, f"expression recursion limit exceeded: {MAX_DEPTH}")
        node = self.disjunction()
        if mark := self.take("?"):
            chosen = self.disjunction()
            self.expect(":")
            node = Call("_?_:_", None, [node, chosen, self.expression()], at=mark.at)
        self.depth -= 1
        return node

    def disjunction(self) -> Node:
        return self.chain(self.conjunction, "||", "_||_")

    def conjunction(self) -> Node:
        return self.chain(self.relation, "&&", "_&&_")

    def chain(self, part: Callable[[], Node], operator: str, function: str) -> Node:
        """Terms joined by && or ||, balanced, so that a long chain does not nest deeply."""
        terms, places = [part()], list[int]()
        while mark := self.take(operator):
            places.append(mark.at)
            terms.append(part())
        return self.balance(function, terms, places, 0, len(terms) - 1)

    def balance(self, function: str, terms: list[Node], places: list[int], low: int, high: int) -> Node:
        if low == high:
            return terms[low]
        middle = (low + high + 1) // 2
        left = self.balance(function, terms, places, low, middle - 1)
        return Call(function, None, [left, self.balance(function, terms, places, middle, high)], at=places[middle - 1])

    def relation(self) -> Node:
        node = self.sum()
        while mark := self.take(*RELATIONS):
            function = "@in" if mark.kind == "in" else f"_{mark.kind}_"
            node = Call(function, None, [node, self.sum()], at=mark.at)
        return node

    def sum(self) -> Node:
        node = self.product()
        while mark := self.take("+", "-"):
            node = Call(f"_{mark.kind}_", None, [node, self.product()], at=mark.at)
        return node

    def product(self) -> Node:
        node = self.unary()
        while mark := self.take("*", "/", "%"):
            node = Call(f"_{mark.kind}_", None, [node, self.unary()], at=mark.at)
        return node

    def unary(self) -> Node:
        first = self.token
        if first.kind not in ("!", "-"):
            return self.member()
        count = 0
        while self.take(first.kind):
            count += 1
        literal = self.token
        if first.kind == "-" and literal.kind == "value" and type(literal.value) in (int, float):
            self.index += 1
            value = int_literal(self.text, literal, True) if type(literal.value) is int else -literal.value
            node = self.members(Literal_(value, at=first.at))
            count -= 1
        else:
            self.depth += 1
            if self.depth > MAX_DEPTH:
                raise self.error(first.at, f"expression recursion limit exceeded: {MAX_DEPTH}")
            node = self.unary()
            self.depth -= 1
        return Call(f"{first.kind}_", None, [node], at=first.at) if count % 2 else node

    # -- members and primaries

    def member(self) -> Node:
        return self.members(self.primary())

    def members(self, node: Node) -> Node:
        while True:
            if mark := self.take("."):
                node = self.selection(node, mark)
            elif mark := self.take("["):
                optional = bool(self.take("?"))
                index = self.expression()
                self.expect("]")
                node = Call("_[?_]" if optional else "_[_]", None, [node, index], at=mark.at)
            else:
                return node

    def selection(self, node: Node, mark: Token) -> Node:
        optional = bool(self.take("?"))
        name = self.take("ident", "in", "quoted")
        if name is None:
            rest = "" if self.token.kind == "end" else self.token.text
            raise self.error(self.token.at, f"Syntax error: no viable alternative at input '.{rest}'")
        self.plain(name)
        if not optional and name.kind == "ident" and (opened := self.take("(")):
            return self.call(name, node, opened)
        return Select(node, name.text, optional=optional, at=mark.at)

    def primary(self) -> Node:
        token = self.token
        if token.kind == "value":
            self.index += 1
            value = int_literal(self.text, token, False) if type(token.value) is int else token.value
            return Literal_(value, at=token.at)
        if token.kind == "(":
            self.index += 1
            node = self.expression()
            self.expect(")")
            return node
        if token.kind == "[":
            return self.list_(token)
        if token.kind == "{":
            return self.map_(token)
        leading = bool(self.take("."))
        name = self.take("ident")
        if name is None:
            wanted = "'[', '{', '(', ')', " if self.arguments == self.index else "'[', '{', '(', "
            raise self.unexpected(f"{{{wanted}{REST}}}", STARTS)
        if opened := self.take("("):
            return self.call(name, None, opened)
        if name.text in RESERVED:
            raise self.error(name.at, f"reserved identifier: {name.text}")
        if struct := self.struct_name(name):
            return self.struct(struct)
        return Ident(("." if leading else "") + name.text, at=name.at)

    def struct_name(self, first: Token) -> str:
        """`A.b.C` when a `{` follows it; the tokens up to there are then taken."""
        index, name = self.index, first.text
        while self.tokens[index].kind == "." and self.tokens[index + 1].kind == "ident":
            name += "." + self.tokens[index + 1].text
            index += 2
        if self.tokens[index].kind != "{":
            return ""
        self.index = index
        return name

    def struct(self, name: str) -> Node:
        at = self.expect("{").at
        fields: list[tuple[str, Node, bool, int]] = []
        while not self.take("}"):
            optional = bool(self.take("?"))
            field = self.take("ident", "quoted", "in")
            if field is None:
                raise self.unexpected("{'}', IDENTIFIER}", ("}", "ident"))
            self.plain(field)
            self.expect(":")
            fields.append((field.text, self.expression(), optional, field.at))
            if not self.take(","):
                self.expect("}")
                break
        return StructNode(name, fields, at=at)

    def list_(self, mark: Token) -> Node:
        self.index += 1
        items: list[Node] = []
        optional: set[int] = set()
        while not self.take("]"):
            if self.take("?"):
                optional.add(len(items))
            items.append(self.expression())
            if not self.take(","):
                self.close("]")
                break
        return ListNode(items, frozenset(optional), at=mark.at)

    def map_(self, mark: Token) -> Node:
        self.index += 1
        entries: list[Entry] = []
        while not self.take("}"):
            optional = bool(self.take("?"))
            key = self.expression()
            self.expect(":")
            entries.append(Entry(key, self.expression(), optional))
            if not self.take(","):
                self.close("}")
                break
        return MapNode(entries, at=mark.at)

    def call(self, name: Token, target: Node | None, opened: Token) -> Node:
        args: list[Node] = []
        self.arguments = self.index
        while not self.take(")"):
            args.append(self.expression())
            if not self.take(","):
                self.close(")")
                break
        macro = self.macro(name, target, args, opened.at)
        if macro is not None:
            return macro
        return Call(name.text, target, args, at=opened.at)

    # -- macros

    def macro(self, name: Token, target: Node | None, args: list[Node], at: int) -> Node | None:
        if target is None:
            return self.has(args, at) if name.text == "has" and len(args) == 1 else None
        if name.text in ("optMap", "optFlatMap") and len(args) == 2:
            variable = self.variable(args[0])
            kind = "optMap" if name.text == "optMap" else "optFlatMap"
            return Bind(kind, target, variable, args[1], at=at)
        return self.fold(name.text, target, args, at)

    def has(self, args: list[Node], at: int) -> Node:
        found = args[0]
        if not isinstance(found, Select):
            raise self.error(found.at, "invalid argument to has() macro")
        return Select(found.operand, found.field, test=True, at=at)

    def fold(self, name: str, target: Node, args: list[Node], at: int) -> Node | None:
        count = len(args)
        kind = "exists_one" if name == "existsOne" and count == 3 else name
        if kind in ("all", "exists", "exists_one"):
            if count == 2:
                return Fold(kind, target, self.variable(args[0]), args[1], at=at)  # pyright: ignore[reportArgumentType]
            if count == 3:
                return self.pair(kind, target, args, None, args[2], at)
        elif kind in ("filter", "sortBy") and count == 2:
            return Fold(kind, target, self.variable(args[0]), args[1], at=at)  # pyright: ignore[reportArgumentType]
        elif kind == "map" and count in (2, 3):
            condition = args[1] if count == 3 else None
            return Fold("map", target, self.variable(args[0]), args[-1], condition, at=at)
        elif kind in ("transformList", "transformMap", "transformMapEntry") and count in (3, 4):
            return self.pair(kind, target, args, args[2] if count == 4 else None, args[-1], at)
        return None

    def pair(self, kind: str, target: Node, args: list[Node], condition: Node | None, step: Node, at: int) -> Node:
        key, value = self.variable(args[0]), self.variable(args[1])
        if key == value:
            raise self.error(args[1].at, f"duplicate variable name: {value}")
        return Fold(kind, target, value, step, condition, key, at=at)  # pyright: ignore[reportArgumentType]

    def variable(self, node: Node) -> str:
        if not isinstance(node, Ident):
            raise self.error(node.at, "argument must be a simple name")
        return node.name
