"""Mutants of a module. Each is the module's syntax tree with one small mistake."""

import ast
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from types import CodeType
from typing import Any

COMPARED = {
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
COMPUTED = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.FloorDiv,
    ast.FloorDiv: ast.Mult,
    ast.Div: ast.Mult,
    ast.Mod: ast.Mult,
    ast.BitOr: ast.BitAnd,
    ast.BitAnd: ast.BitOr,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
}
Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass
class Mutant:
    """One mistake: `new` replaces the `field` of `parent` (its item at `index`, if the field is a list)."""

    name: str
    lines: range
    #: The outermost function with the mistake; None if the mistake is made while the module is imported.
    function: Function | None
    qualname: str
    parent: ast.AST
    field: str
    index: int | None
    new: Any

    @contextmanager
    def made(self) -> Iterator[None]:
        """Its mistake in the tree."""
        place = getattr(self.parent, self.field)
        if self.index is None:
            setattr(self.parent, self.field, self.new)
            yield
            setattr(self.parent, self.field, place)
        else:
            old = place[self.index]
            place[self.index : self.index + 1] = [] if self.new is None else [self.new]
            yield
            place[self.index : self.index + (self.new is not None)] = [old]


class Module:
    """A module and its mutants."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.tree = ast.parse(path.read_bytes())
        self.mutants: list[Mutant] = []
        self._names: Counter[str] = Counter()
        self._visit_body(self.tree, "", None, range(0))

    def code(self, mutant: Mutant) -> CodeType:
        with mutant.made():
            return compile(ast.fix_missing_locations(deepcopy(self.tree)), str(self.path), "exec")

    # Finding places --------------------------------------------------------------------------------

    def _visit_body(self, node: Any, qualname: str, function: Function | None, lines: range) -> None:
        for name in ("body", "orelse", "finalbody"):
            for index, statement in enumerate(getattr(node, name, [])):
                if isinstance(statement, ast.stmt):
                    self._statement(node, name, index, statement, qualname, function)

    def _statement(
        self, parent: ast.AST, field: str, index: int, node: ast.stmt, qualname: str, function: Function | None
    ) -> None:
        lines = range(node.lineno, (node.end_lineno or node.lineno) + 1)
        if isinstance(node, Function | ast.ClassDef):
            inner = f"{qualname}.{node.name}" if qualname else node.name
            if isinstance(node, Function):
                for default in ("defaults", "kw_defaults"):
                    self._fields(node.args, [default], inner, function, lines)
                self._visit_body(node, inner, function or node, lines)
            else:
                self._visit_body(node, inner, function, lines)
            return
        if _stays(node):
            return
        if hasattr(node, "body"):  # only its first line belongs to it
            first = node.body[0].lineno
            lines = range(node.lineno, max(first, node.lineno + 1))
        nothing = ast.copy_location(ast.Pass(), node)
        match node:
            case ast.Expr(value=ast.Call()) | ast.AugAssign() | ast.Raise() | ast.Delete():
                self._add(parent, field, index, node, nothing, qualname, function, lines)
            case ast.Return(value=ast.expr() as value) if not _is_none(value):
                self._add(node, "value", None, value, ast.Constant(None), qualname, function, lines, text=node)
            case ast.Continue():
                self._add(parent, field, index, node, ast.Break(), qualname, function, lines)
            case ast.Break():
                self._add(parent, field, index, node, ast.Continue(), qualname, function, lines)
        self._fields(node, [name for name in node._fields if name != "annotation"], qualname, function, lines)
        self._visit_body(node, qualname, function, lines)
        for each in [*getattr(node, "handlers", []), *getattr(node, "cases", [])]:
            self._visit_body(each, qualname, function, lines)

    def _fields(self, node: Any, fields: Any, qualname: str, function: Function | None, lines: range) -> None:
        for field in fields:
            value = getattr(node, field)
            for index, each in enumerate(value) if isinstance(value, list) else [(None, value)]:
                if isinstance(each, ast.AST) and not isinstance(each, ast.stmt | ast.ExceptHandler | ast.match_case):
                    self._expression(node, field, index, each, qualname, function, lines)

    def _expression(
        self,
        parent: Any,
        field: str,
        index: int | None,
        node: Any,
        qualname: str,
        function: Function | None,
        lines: range,
    ) -> None:
        for new in [*_other_operators(node), *_other_values(parent, field, node)]:
            self._add(parent, field, index, node, new, qualname, function, lines)
        self._fields(node, node._fields, qualname, function, lines)

    def _add(
        self,
        parent: ast.AST,
        field: str,
        index: int | None,
        old: ast.AST,
        new: Any,
        qualname: str,
        function: Function | None,
        lines: range,
        text: ast.AST | None = None,
    ) -> None:
        after = "" if new is None else ast.unparse(new)
        name = f"{qualname or 'module'}: {ast.unparse(text or old)} -> {after or 'nothing'}".replace("\n", " ")
        self._names[name] += 1
        if self._names[name] > 1:
            name += f" #{self._names[name]}"
        outermost = qualname
        if function is not None:
            parts = qualname.split(".")
            outermost = ".".join(parts[: parts.index(function.name) + 1])
        self.mutants.append(Mutant(name, lines, function, outermost, parent, field, index, new))


def _other_operators(node: ast.AST) -> Iterator[ast.expr]:
    match node:
        case ast.Compare(ops=[op]) if type(op) in COMPARED:
            yield ast.Compare(node.left, [COMPARED[type(op)]()], node.comparators)
        case ast.BoolOp(op=ast.And()):
            yield ast.BoolOp(ast.Or(), node.values)
        case ast.BoolOp():
            yield ast.BoolOp(ast.And(), node.values)
        case ast.UnaryOp(op=ast.Not()):
            yield node.operand
        case ast.BinOp(op=op) if type(op) in COMPUTED:
            yield ast.BinOp(node.left, COMPUTED[type(op)](), node.right)


def _other_values(parent: ast.AST, field: str, node: ast.AST) -> Iterator[ast.expr | None]:
    """Changed values of a node.

    None leaves out a keyword argument or an item of a set. Text with a space is not changed, because nearly all of it
    is for people, and other tests check it.
    """
    match node:
        case ast.Constant(value=bool() as value):
            yield ast.Constant(not value)
        case ast.Constant(value=int() | float() as value):
            yield ast.Constant(value + 1)
        case ast.Constant(value=str() as value) if not (isinstance(parent, ast.JoinedStr) or " " in value):
            yield ast.Constant(f"{value} mutated")
        case ast.JoinedStr(values=parts) if not any(
            " " in ast.unparse(part) for part in parts if isinstance(part, ast.Constant)
        ):
            yield ast.Constant("mutated")
        case ast.IfExp() | ast.Name() | ast.Attribute() | ast.Call() if _is_condition(parent, field):
            yield ast.UnaryOp(ast.Not(), node)
        case ast.keyword(arg=str()):
            yield None
    if isinstance(parent, ast.Set) and len(parent.elts) > 1:
        yield None


def _is_none(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def _stays(node: ast.stmt) -> bool:
    """Imports, asserts, docstrings, comments on attributes, and type variables, which only type checkers read."""
    match node:
        case ast.Expr(value=ast.Constant()):
            return True
        case ast.Assign(value=ast.Call(func=ast.Name(id="TypeVar"))):
            return True
    return isinstance(node, ast.Assert | ast.Import | ast.ImportFrom | ast.Global | ast.Nonlocal)


def _is_condition(parent: ast.AST, field: str) -> bool:
    return (
        field == "test" or (field == "ifs" and isinstance(parent, ast.comprehension)) or isinstance(parent, ast.BoolOp)
    )
