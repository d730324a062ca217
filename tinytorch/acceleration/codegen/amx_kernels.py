"""Micro-kernels of AMX: operands and sums lie in tiles, eight registers of up to 16 rows of 64 bytes. All eight work:

                              B: tile 6             tile 7
                                 16 x 64 bytes      16 x 64 bytes          64 steps of K x 16 columns each, packed
    A: tile 4  16 x 64 bytes     C: tile 0          tile 1                 16 x 16 int32 each
       tile 5  16 x 64 bytes        tile 2          tile 3

One instruction multiplies two tiles: C[16 x 16] += A[16 x 64] @ B[64 x 16] (bfloat16: A[16 x 32]). Four products for
four loads: each load is used twice.

What the next tile of C needs again should stay in the first cache, so the other operand is loaded past it (T1):

    tile_...   rows stay, and meet panel after panel
    deep_...   rows of a deep K do not fit there. A piece of these weights stays, and meets all rows; meanwhile the next
               piece is fetched from memory, a few cache lines a step
"""

from dataclasses import dataclass

from .ir import join
from .micro_kernels import NEXT_STEP, SIGNATURE, address


@dataclass(frozen=True)
class AmxKernel:
    """One micro-kernel: its size, its instruction, and which operand stays in the first cache."""

    row_tiles: int  # 1 or 2: up to 16 or up to 32 rows; `configure` has told the tiles how many
    panels: int  # 1 or 2
    instruction: str  # tdpbusd: uint8 x int8; tdpbf16ps: bfloat16
    deep: bool

    @property
    def name(self) -> str:
        """How it is found in its module."""
        return f"{'deep' if self.deep else 'tile'}_{self.row_tiles}_{self.panels}"

    @property
    def tiles_of_c(self) -> list[tuple[int, int]]:
        """The tiles of C, as (number among rows, number of panel)."""
        return [(r, p) for r in range(self.row_tiles) for p in range(self.panels)]


def _c(r: int, p: int) -> int:
    """The number of the tile of sums of row tile r and panel p."""
    return 2 * r + p


def _a(r: int) -> int:
    """The number of the tile of activations of row tile r."""
    return 4 + r


def _b(p: int) -> int:
    """The number of the tile of weights of panel p."""
    return 6 + p


def amx_kernel(kernel: AmxKernel) -> str:
    """C[16 row_tiles x 16 panels] = start + A @ B."""
    rows, columns = 16 * kernel.row_tiles, 16 * kernel.panels
    return join(
        f"define void @{kernel.name}{SIGNATURE} {{",
        "entry: ; C = start",
        *(_load_start(r, p) for r, p in kernel.tiles_of_c),
        "br label %loop",
        f"; C[{rows} x {columns}] += A[{rows} x 64 bytes] @ B[64 bytes x {columns}]",
        _begin_step(kernel),
        *(_load_weights(kernel, p) for p in range(kernel.panels)),
        *(_multiply_rows(kernel, r) for r in range(kernel.row_tiles)),
        NEXT_STEP,
        "done:",
        *(_store(r, p) for r, p in kernel.tiles_of_c),
        "ret void",
        "}",
    )


def _load_start(r: int, p: int) -> str:
    """C[r, p] = start[16 r : 16 r + 16, 16 p : 16 p + 16]."""
    return join(
        address(f"%s.{r}.{p}", "%start", "%ld_start", 16 * r, 64 * p),
        f"call void @llvm.x86.tileloadd64(i8 {_c(r, p)}, ptr %s.{r}.{p}, i64 %ld_start)",
    )


def _begin_step(kernel: AmxKernel) -> str:
    """%k.a and %k.b, how far step k lies from the start of a row and of a panel. Where K is deep, prefetches before."""
    return join(
        "loop: ; for each step k",
        f"%k = phi i64 [0, %entry], [%k.next, %{'multiply' if kernel.deep else 'loop'}]",
        _prefetch_weights(kernel.panels) if kernel.deep else "",
        "%k.a = shl i64 %k, 6",
        "%k.b = shl i64 %k, 10",
    )


def _prefetch_weights(panels: int) -> str:
    """Asks for the next `fetch_lines` cache lines of each panel of %prefetch.

    Memory is read while tiles multiply, if it is asked a little in each step.
    """
    return join(
        """
        %fetched = mul i64 %k, %fetch_lines
        %fetched.bytes = shl i64 %fetched, 6
        %first.line = getelementptr i8, ptr %prefetch, i64 %fetched.bytes
        br label %lines
      lines: ; for each cache line that this step fetches
        %i = phi i64 [0, %loop], [%i.next, %fetch]
        %line = phi ptr [%first.line, %loop], [%line.next, %fetch]
        %wanted = icmp slt i64 %i, %fetch_lines
        br i1 %wanted, label %fetch, label %multiply
      fetch:""",
        *(_prefetch_line(p) for p in range(panels)),
        """
        %line.next = getelementptr i8, ptr %line, i64 64
        %i.next = add i64 %i, 1
        br label %lines
      multiply:""",
    )


def _prefetch_line(p: int) -> str:
    """One cache line of panel p, into the second cache."""
    return join(
        address(f"%line.{p}", "%line", "%panel_bytes", p),
        f"call void @llvm.prefetch.p0(ptr %line.{p}, i32 0, i32 2, i32 1)",
    )


def _load_weights(kernel: AmxKernel, p: int) -> str:
    """B[p]: step k of panel p, which stays in the first cache where K is deep."""
    load = "tileloadd64" if kernel.deep else "tileloaddt164"
    return join(
        address(f"%b.{p}", "%b", "%panel_bytes", p, "%k.b"),
        f"call void @llvm.x86.{load}(i8 {_b(p)}, ptr %b.{p}, i64 64)",
    )


def _multiply_rows(kernel: AmxKernel, r: int) -> str:
    """A[r]: step k of 16 rows, which stay in the first cache unless K is deep; C[r, p] += A[r] @ B[p] for each p."""
    load = "tileloaddt164" if kernel.deep else "tileloadd64"
    return join(
        address(f"%a.{r}", "%a", "%lda", 16 * r, "%k.a"),
        f"call void @llvm.x86.{load}(i8 {_a(r)}, ptr %a.{r}, i64 %lda)",
        *(
            f"call void @llvm.x86.{kernel.instruction}(i8 {_c(r, p)}, i8 {_a(r)}, i8 {_b(p)})"
            for p in range(kernel.panels)
        ),
    )


def _store(r: int, p: int) -> str:
    """c[16 r : 16 r + 16, 16 p : 16 p + 16] = C[r, p]."""
    return join(
        address(f"%c.{r}.{p}", "%c", "%ldc", 16 * r, 64 * p),
        f"call void @llvm.x86.tilestored64(i8 {_c(r, p)}, ptr %c.{r}.{p}, i64 %ldc)",
    )


def tile_configuration() -> str:
    """`configure(rows)` wakes the tiles for so many rows of C, `release()` lets them sleep; and what AMX declares."""
    shapes = ", ".join(_shape(rows) for rows in range(33))
    return join(f"""
    @tile_shapes = internal constant [33 x [64 x i8]] [{shapes}], align 64
    declare void @llvm.x86.ldtilecfg(ptr)
    declare void @llvm.x86.tilerelease()
    declare void @llvm.prefetch.p0(ptr, i32, i32, i32)
    declare void @llvm.x86.tileloadd64(i8 immarg, ptr, i64)
    declare void @llvm.x86.tileloaddt164(i8 immarg, ptr, i64)
    declare void @llvm.x86.tilestored64(i8 immarg, ptr, i64)
    declare void @llvm.x86.tdpbusd(i8 immarg, i8 immarg, i8 immarg)
    declare void @llvm.x86.tdpbf16ps(i8 immarg, i8 immarg, i8 immarg)
    define void @configure(i64 %rows) {{
      %shape = getelementptr [64 x i8], ptr @tile_shapes, i64 %rows
      call void @llvm.x86.ldtilecfg(ptr %shape)
      ret void
    }}
    define void @release() {{
      call void @llvm.x86.tilerelease()
      ret void
    }}""")


def _shape(rows: int) -> str:
    """The 64 bytes that LDTILECFG reads: palette 1, then of each tile its bytes a row, and its rows from byte 48 on."""
    upper, lower = min(max(rows, 1), 16), max(rows - 16, 1)  # rows of tiles 0, 1, 4 and of tiles 2, 3, 5
    row_counts = bytes([upper, upper, lower, lower, upper, lower, 16, 16])
    shape = bytes([1]) + bytes(15) + (64).to_bytes(2, "little") * 8 + bytes(16) + row_counts + bytes(8)
    return '[64 x i8] c"' + "".join(f"\\{byte:02X}" for byte in shape) + '"'
