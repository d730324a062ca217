"""How a line of a solution may be wrong: each function here takes a node of its syntax tree and yields what else might
stand there. Constants, comparisons, dtypes, axes, order, copies, divisors, ends of types, statements, and inputs that
are empty, one number or without rows.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator

Wrong = Iterator[ast.AST]

# Names that are taken for one another.
CONFUSED = (
    ("minimum", "maximum"),
    ("min", "max"),
    ("argmin", "argmax"),
    ("rint", "floor", "ceil", "trunc"),
    ("sum", "mean", "max"),
    ("median", "mean", "min"),
    ("any", "all"),
    ("zeros", "ones"),
    ("zeros_like", "ones_like"),
    ("log", "log2", "log10", "log1p"),
    ("isfinite", "isnan", "isinf"),
    ("cumsum", "cumprod"),
    ("qmin", "qmax"),
    ("lo", "hi"),
    ("scale", "zero_point"),
    ("weight", "bias"),
    ("running_mean", "running_var"),
    ("nbytes", "size"),
    ("int8", "uint8", "int32", "int64", "float16", "float32", "float64"),
    ("uint32", "int32", "int64", "uint64"),
    ("continue", "break"),
    ("bool", "int", "float"),
)
COMPARISONS = (ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.Eq, ast.NotEq)
OPPOSITES: dict[type[ast.AST], tuple[type[ast.AST], ...]] = {
    ast.Add: (ast.Sub,),
    ast.Sub: (ast.Add,),
    ast.Mult: (ast.Div, ast.Add),
    ast.Div: (ast.Mult, ast.FloorDiv),
    ast.FloorDiv: (ast.Div,),
    ast.Mod: (ast.FloorDiv,),
    ast.Pow: (ast.Mult,),
    ast.LShift: (ast.RShift,),
    ast.RShift: (ast.LShift,),
    ast.BitAnd: (ast.BitOr,),
    ast.BitOr: (ast.BitAnd, ast.BitXor),
    ast.BitXor: (ast.BitOr, ast.BitAnd),
    ast.And: (ast.Or,),
    ast.Or: (ast.And,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
SYMMETRIC = ("np.minimum", "np.maximum", "min", "max")  # functions whose arguments may change places
COMMUTES = (ast.Add, ast.Mult, ast.BitAnd, ast.BitOr, ast.BitXor)
INPUTS = {
    "empty": "0 in getattr(v, 'shape', ())",
    "without rows": "getattr(v, 'shape', ())[:1] == (0,)",
    "one element": "set(getattr(v, 'shape', ())) == {1}",
    "one number": "getattr(v, 'shape', None) == ()",
}


def constants(node: ast.AST) -> Wrong:
    match node:
        case ast.UnaryOp(ast.USub(), ast.Constant(value=int(value))):
            yield from map(_number, (1 - value, -1 - value, -2 * value, 0))
        case ast.Constant(value=bool(value)):
            yield ast.Constant(not value)
        case ast.Constant(value=int(value)):
            yield from map(_number, (value + 1, value - 1, 2 * value, 0, -value))
        case ast.Constant(value=float(value)):
            yield from map(_number, (value + 1, 2 * value, value / 2, 0.0, -value))
        case ast.Constant(value=str(value)):
            yield ast.Constant(f"not {value}")


def operators(node: ast.AST) -> Wrong:
    """`<` for `<=`, `-` for `+`, `or` for `and`."""
    if isinstance(node, COMPARISONS):
        yield from (other() for other in COMPARISONS if other is not type(node))
    yield from (other() for other in OPPOSITES.get(type(node), ()))


def operands(node: ast.AST) -> Wrong:
    """One of two operands is missing, they change places, or a quotient is the product with a reciprocal."""
    match node:
        case ast.BinOp(left, op, right):
            yield from (left, right)
            if not isinstance(op, COMMUTES):
                yield ast.BinOp(right, op, left)
            if isinstance(op, ast.Div):
                yield ast.BinOp(left, ast.Mult(), ast.BinOp(ast.Constant(1), ast.Div(), right))
            if isinstance(op, ast.Div | ast.FloorDiv | ast.Mod):
                yield from (ast.BinOp(left, op, wrong) for wrong in _beside(right))
        case ast.BoolOp(op, values):
            for i in range(len(values)):
                rest = [*values[:i], *values[i + 1 :]]
                yield rest[0] if len(rest) == 1 else ast.BoolOp(op, rest)
        case ast.UnaryOp(_, operand):
            yield operand
        case ast.Compare(left, [op], [right]) if isinstance(op, COMPARISONS):
            yield from (ast.Compare(left, [op], [wrong]) for wrong in _beside(right))


def branches(node: ast.AST) -> Wrong:
    match node:
        case ast.IfExp(test, body, orelse):
            yield from (body, orelse, ast.IfExp(test, orelse, body))
        case ast.If(test, body, orelse):
            for wrong in (ast.UnaryOp(ast.Not(), test), ast.Constant(True), ast.Constant(False)):
                yield ast.If(wrong, body, orelse)
        case ast.comprehension(target, iterable, [_, *_], is_async):
            yield ast.comprehension(target, iterable, [], is_async)


def calls(node: ast.AST) -> Wrong:
    """A cast, clip or copy is forgotten, an argument is missing, or two change places."""
    if not isinstance(node, ast.Call):
        return
    args, keywords = node.args, node.keywords
    yield from args[:1]
    if isinstance(node.func, ast.Attribute) and not _is_module(node.func.value):
        yield node.func.value
    for i in range(len(args)):
        yield ast.Call(node.func, [*args[:i], *args[i + 1 :]], keywords)
        if ast.unparse(node.func) not in SYMMETRIC:
            yield ast.Call(node.func, [*args[:i], *args[i : i + 2][::-1], *args[i + 2 :]], keywords)
    for i in range(len(keywords)):
        yield ast.Call(node.func, args, [*keywords[:i], *keywords[i + 1 :]])


def order(node: ast.AST) -> Wrong:
    """Rounded before it is shifted or after, cast before it is clipped or after."""
    match node:
        case ast.BinOp(ast.Call(function, [arg], []), op, right):
            yield ast.Call(function, [ast.BinOp(arg, op, right)], [])
        case ast.Call(function, [ast.BinOp(left, op, right)], []):
            yield ast.BinOp(ast.Call(function, [left], []), op, right)
            yield ast.BinOp(left, op, ast.Call(function, [right], []))
        case ast.Call(ast.Attribute(ast.Call(function, [arg, *more], keywords), method), args, []):
            cast = ast.Call(ast.Attribute(arg, method, ast.Load()), args, [])
            yield ast.Call(function, [cast, *more], keywords)
        case ast.BinOp(ast.BinOp(a, ast.Mult() | ast.Add() as first, b), second, c):
            yield ast.BinOp(a, first, ast.BinOp(b, second, c))


def names(node: ast.AST) -> Wrong:
    match node:
        case ast.Name(name, context):
            yield from (ast.Name(other, context) for other in _confused(name))
        case ast.Attribute(value, name, context):
            yield from (ast.Attribute(value, other, context) for other in _confused(name))


def ends(node: ast.AST) -> Wrong:
    """One beside the end of a type, a size or a length."""
    match node:
        case ast.Attribute(attr="qmin" | "qmax" | "size" | "bits") | ast.Call(func=ast.Name("len")):
            yield from _beside(node)


def subscripts(node: ast.AST) -> Wrong:
    match node:
        case ast.Subscript(value, _, ast.Load()):
            yield value
        case ast.Slice(lower, upper, step):
            from_0 = isinstance(lower, ast.Constant) and lower.value == 0
            yield from () if from_0 else (ast.Slice(None, upper, step),)
            yield from (ast.Slice(lower, None, step), ast.Slice(lower, upper, None))
        case ast.Tuple([_, _, *_] as elements, context):
            for i in range(len(elements) - 1):
                swapped = [*elements[:i], elements[i + 1], elements[i], *elements[i + 2 :]]
                yield ast.Tuple(swapped, context)


def statements(node: ast.AST) -> Wrong:
    """A statement is missing, or goes through all but one of its items."""
    if isinstance(node, ast.stmt) and not isinstance(node, ast.Pass):
        yield ast.Pass()
    match node:
        case ast.AugAssign(target, op, value):
            yield ast.Assign([target], value, lineno=0)
            if isinstance(target, ast.Name):
                yield ast.Assign([target], ast.BinOp(ast.Name(target.id), op, value), lineno=0)
        case ast.For(target, iterable, body, orelse):
            for part in ("list(_)[1:]", "list(_)[:-1]", "list(_)[::-1]", "list(_)[:1]"):
                yield ast.For(target, _filled(part, iterable), body, orelse, lineno=0)
            yield ast.For(target, iterable, [*body, ast.Break()], orelse, lineno=0)
        case ast.With(_, body):
            yield ast.If(ast.Constant(True), body, [])
        case ast.Raise(ast.Call(ast.Name(name), args, keywords)):
            other = "ValueError" if name != "ValueError" else "TypeError"
            yield ast.Raise(ast.Call(ast.Name(other, ast.Load()), args, keywords))
        case ast.Return(ast.expr() as value) if not isinstance(value, ast.Tuple | ast.Constant):
            for part in ("np.asarray(_, np.float64)", "np.asarray(_, np.int64)", "np.ravel(_)", "_[..., None]"):
                yield ast.Return(_filled(part, value))


OPERATORS: tuple[Callable[[ast.AST], Wrong], ...] = (
    constants,
    operators,
    operands,
    branches,
    calls,
    order,
    names,
    ends,
    subscripts,
    statements,
)


def refusals(function: ast.FunctionDef) -> Iterator[ast.stmt]:
    """First statements that refuse a kind of input, where a function takes arrays."""
    taken = " ".join(ast.unparse(arg.annotation) for arg in function.args.args if arg.annotation)
    for what, condition in INPUTS.items() if "Array" in taken or "Tensor" in taken else ():
        text = f"if any({condition} for v in list(locals().values())):\n    raise IndexError({what!r})"
        yield from ast.parse(text).body


def _confused(name: str) -> list[str]:
    return [other for group in CONFUSED if name in group for other in group if other != name]


def _number(value: float) -> ast.expr:
    return ast.UnaryOp(ast.USub(), ast.Constant(-value)) if value < 0 else ast.Constant(value)


def _beside(node: ast.expr) -> list[ast.expr]:
    return [ast.BinOp(node, op, ast.Constant(1)) for op in (ast.Add(), ast.Sub())]


def _is_module(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id == "np"


def _filled(text: str, value: ast.expr) -> ast.expr:
    """An expression, with `value` in the place of `_`."""

    class Fill(ast.NodeTransformer):
        def visit_Name(self, node: ast.Name) -> ast.expr:
            return value if node.id == "_" else node

    filled = Fill().visit(ast.parse(text, mode="eval")).body
    assert isinstance(filled, ast.expr)
    return filled
