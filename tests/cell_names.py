"""Which names a notebook's cell binds, and which it takes from other cells."""

from __future__ import annotations

import ast
import builtins
import symtable
from collections.abc import Iterator


def bound(code: str) -> set[str]:
    """The names that code gives a meaning at its top level.

    >>> sorted(bound("import a.b\\nfor i in (1, 2): c = [j for j in range(i)]"))
    ['a', 'c', 'i']
    """
    symbols = symtable.symtable(code, "cell", "exec").get_symbols()
    return {symbol.get_name() for symbol in symbols if symbol.is_assigned() or symbol.is_imported()}


def imported(code: str) -> set[str]:
    """Those of them that are imported, and mean the same wherever they are."""
    symbols = symtable.symtable(code, "cell", "exec").get_symbols()
    return {symbol.get_name() for symbol in symbols if symbol.is_imported()}


def taken(code: str) -> set[str]:
    """The names that code reads, in functions too, and that no statement above has bound.

    >>> sorted(taken("b = a\\ndef f(x):\\n    return x + b + c\\nfor d in e:\\n    print(d)"))
    ['a', 'c', 'e']
    """
    found, have = set[str](), set[str]()
    for statement in ast.parse(code).body:
        own = bound(text := ast.unparse(statement))
        binds_first = isinstance(statement, ast.For | ast.With | ast.FunctionDef | ast.ClassDef)
        found |= set(_globals(symtable.symtable(text, "cell", "exec"))) - have - (own if binds_first else set())
        have |= own
    return {name for name in found if not hasattr(builtins, name)}


def _globals(table: symtable.SymbolTable) -> Iterator[str]:
    top = table.get_type() == "module"
    for symbol in table.get_symbols():
        if symbol.is_referenced() and (top or symbol.is_global()):
            yield symbol.get_name()
    for inner in table.get_children():
        yield from _globals(inner)
