"""Pieces that the bodies of loops are made of: numbers for all lanes or for each column, clipping, rounding, ReLU.

Each piece makes vectors of `lanes` lanes. Where it takes no target, its docstring names the %values that it makes.
"""

from .ir import broadcast, join, vector


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
