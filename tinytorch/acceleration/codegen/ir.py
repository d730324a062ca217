"""How text of LLVM IR is put together.

A function of IR is written as pieces, each a few lines that a function of Python returns and names. `join` puts pieces
one after the other. `module` indents all lines as LLVM prints them, so a piece may stand at any indentation in Python.
"""

from collections.abc import Iterable


def join(*pieces: str) -> str:
    """One piece after the other."""
    return "\n".join(pieces)


def module(*functions: str) -> str:
    """One module of these functions. LLVM wants every declaration once."""
    lines = [line.strip() for line in join(*functions).split("\n")]
    declarations = dict.fromkeys(line for line in lines if line.startswith("declare "))
    return join(*declarations, *(_indented(line) for line in lines if line and line not in declarations))


def _indented(line: str) -> str:
    """The line as it stands in a module: functions, constants and labels at the margin."""
    if line[0] == "%":  # most lines make a value, and are not looked at any further
        return f"  {line}"
    first = line.split(" ", 1)[0]
    return line if first[0] in "@}" or first == "define" or first[-1] == ":" else f"  {line}"


def vector(lanes: int, element: str) -> str:
    """The type of a vector: `<16 x i32>`."""
    return f"<{lanes} x {element}>"


def constant(element: str, values: Iterable[int]) -> str:
    """A vector of these values: `<i32 0, i32 1>`."""
    return f"<{', '.join(f'{element} {value}' for value in values)}>"


def repeated(element: str, value: int, lanes: int) -> str:
    """A vector of one value: `<i32 4, i32 4>`."""
    return constant(element, [value] * lanes)


def broadcast(target: str, value: str, element: str, lanes: int) -> str:
    """target = the scalar `value` in each of `lanes` lanes."""
    v = vector(lanes, element)
    return f"""
    {target}.lane0 = insertelement {v} poison, {element} {value}, i32 0
    {target} = shufflevector {v} {target}.lane0, {v} poison, <{lanes} x i32> zeroinitializer"""
