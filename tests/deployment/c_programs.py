"""C files compiled and run: on this machine as a library, and on an emulated Cortex-M as a program."""

from __future__ import annotations

import ctypes
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinytorch.deployment import CFiles, Trace

STRICT = ("-std=c99", "-pedantic", "-Wall", "-Wextra", "-Wconversion", "-Wno-sign-conversion", "-Werror")
ARM, QEMU = "arm-none-eabi-gcc", "qemu-system-arm"


def compiled(files: CFiles, folder: Path, *flags: str) -> ctypes.CDLL:
    """The file as a library of this machine."""
    files.write(folder)
    library = folder / f"{files.name}.so"
    command = ["gcc", *STRICT, *(flags or ("-O2",)), "-shared", "-fPIC", f"{files.name}.c", "-o", library.name]
    done = subprocess.run(command, cwd=folder, capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    return ctypes.CDLL(str(library))


def answers(library: ctypes.CDLL, files: CFiles, steps: Trace, x: NDArray[np.float32]) -> NDArray[Any]:
    """What the network gives for each sample, from floats: its codes as int8, or floats."""
    first = steps.steps[0].y
    last = steps.steps[-1].x if steps.y.name == "output" else steps.y
    kind = np.float32 if last.qparams is None else np.int8
    codes = np.empty(first.shape, np.int8)
    out = np.empty((len(x), *last.shape), kind)
    for i, sample in enumerate(np.ascontiguousarray(x, np.float32)):
        library[f"{files.name}_quantize"](sample.ctypes.data_as(ctypes.c_void_p), codes.ctypes.data_as(ctypes.c_void_p))
        library[files.name](codes.ctypes.data_as(ctypes.c_void_p), out[i].ctypes.data_as(ctypes.c_void_p))
    return out


# Where an emulated board begins: its stack and the start of the C library. It reads floats, sample by sample, and
# writes what the network gives.
MAIN = """
#include <stdio.h>
#include "{name}.h"
extern void _start(void);
__attribute__((section(".vectors"), used)) const uintptr_t vectors[2] = {{0x20300000u, (uintptr_t)_start}};
static float x[{upper}_INPUTS];
static int8_t codes[{upper}_INPUTS];
static {out} y[{upper}_OUTPUTS];
int main(void) {{
    FILE *in = fopen("x.bin", "rb"), *out = fopen("y.bin", "wb");
    while (fread(x, sizeof x, 1, in) == 1) {{
        {name}_quantize(x, codes);
        {name}(codes, y);
        fwrite(y, sizeof y, 1, out);
    }}
    return fclose(out);
}}
"""
BOARDS = {"cortex-m0": "mps2-an385", "cortex-m3": "mps2-an385", "cortex-m4": "mps2-an386", "cortex-m7": "mps2-an500"}
PLACES = ("-Wl,--section-start=.vectors=0", "-Wl,-Tdata=0x20000000")


def on_cortex_m(files: CFiles, folder: Path, x: NDArray[np.float32], cpu: str = "cortex-m4") -> tuple[bytes, str]:
    """What the network writes on an emulated board, and what `size` says of its object file.

    There is no board with a Cortex-M0 of enough memory: its code runs on a Cortex-M3, which knows all its instructions.
    """

    def run(*command: str) -> str:
        done = subprocess.run(command, cwd=folder, capture_output=True, encoding="utf-8", timeout=300)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    files.write(folder)
    out = "float" if "float *output" in files.header else "int8_t"
    (folder / "main.c").write_text(MAIN.format(name=files.name, upper=files.name.upper(), out=out), encoding="utf-8")
    np.ascontiguousarray(x, np.float32).tofile(folder / "x.bin")
    flags = (f"-mcpu={cpu}", "-mthumb", "-Os")
    run(ARM, *STRICT, *flags, "-c", f"{files.name}.c")
    run(ARM, *flags, *PLACES, "--specs=rdimon.specs", "main.c", f"{files.name}.o", "-o", "network.elf")
    board = ("-M", BOARDS[cpu], "-nographic", "-semihosting-config", "enable=on,target=native")
    run(QEMU, *board, "-kernel", "network.elf")
    return (folder / "y.bin").read_bytes(), run("arm-none-eabi-size", f"{files.name}.o")
