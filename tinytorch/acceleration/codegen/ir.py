"""How text of LLVM IR is put together.

A function of IR is written as pieces, each a few lines that a function of Python returns and names. `join` puts pieces
one after the other. `module` indents all lines as LLVM prints them, so a piece may stand at any indentation in Python.

The later pieces are what bodies of loops are made of: numbers for all lanes or for each column, clipping, rounding,
ReLU. They make vectors of `lanes` lanes. Where one takes no target, its docstring names the %values that it makes.
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


def load_number(name: str, source: str, index: int, lanes: int) -> str:
    """%name = float number `index` of the array at %source, in all lanes."""
    return join(
        f"""
        %{name}.at = getelementptr float, ptr %{source}, i64 {index}
        %{name}.scalar = load float, ptr %{name}.at, align 4""",
        broadcast(f"%{name}", f"%{name}.scalar", "float", lanes),
    )


def load_flip(source: str, lanes: int) -> str:
    """%flip = the byte at %source, in all lanes: 0, or 128, which xor-ed with codes turns int8 into uint8 and back."""
    return join(f"%flip.scalar = load i8, ptr %{source}, align 1", broadcast("%flip", "%flip.scalar", "i8", lanes))


def load_columns(name: str, source: str, lanes: int) -> str:
    """%name = the floats of the array at %source for the columns from %j on. The array is padded to full vectors."""
    return f"""
    %{name}.at = getelementptr float, ptr %{source}, i64 %j
    %{name} = load {vector(lanes, "float")}, ptr %{name}.at, align 4"""


def code_range(source: str, lanes: int) -> str:
    """%zero, int32, and %lo, %hi: the range of codes before the zero point is added, so that clipping may come first.

    The array at `source` begins with zero point, lowest code and highest code, as floats.
    """
    f = vector(lanes, "float")
    names = ["zero_point", "lowest", "highest"]
    return join(
        *(load_number(name, source, index, lanes) for index, name in enumerate(names)),
        f"""
        %zero = fptosi {f} %zero_point to <{lanes} x i32>
        %lo = fsub {f} %lowest, %zero_point
        %hi = fsub {f} %highest, %zero_point""",
    )


def clip(value: str, lanes: int) -> str:
    """{value}.clipped = value within [%lo, %hi]. A NaN becomes %lo here, and is reported elsewhere."""
    f, mask = vector(lanes, "float"), vector(lanes, "i1")
    return f"""
    {value}.over = fcmp ogt {f} {value}, %lo
    {value}.up = select {mask} {value}.over, {f} {value}, {f} %lo
    {value}.under = fcmp olt {f} {value}.up, %hi
    {value}.clipped = select {mask} {value}.under, {f} {value}.up, {f} %hi"""


def round_to_int(target: str, source: str, lanes: int) -> str:
    """target = the nearest int32, ties to even."""
    return f"{target} = call <{lanes} x i32> @llvm.lrint.v{lanes}i32.v{lanes}f32(<{lanes} x float> {source})"


def declare_round(lanes: int) -> str:
    """What a module needs that rounds."""
    return f"declare <{lanes} x i32> @llvm.lrint.v{lanes}i32.v{lanes}f32(<{lanes} x float>)"


def relu(target: str, source: str, lanes: int) -> str:
    """target = source, or 0 where it is not above 0."""
    f, mask = vector(lanes, "float"), vector(lanes, "i1")
    return f"""
    {target}.positive = fcmp ogt {f} {source}, zeroinitializer
    {target} = select {mask} {target}.positive, {f} {source}, {f} zeroinitializer"""
