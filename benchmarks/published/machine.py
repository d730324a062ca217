"""What is said of the machine under a table."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from pathlib import Path

TOLD = ("avx2", "avx_vnni", "avx512f", "avx512_vnni", "amx_int8", "asimddp", "i8mm")


def machine() -> str:
    """The processor's name, the instruction sets that matter to products of bytes, cores, and the engine's version."""
    name, has = platform.processor() or platform.machine(), []
    if Path("/proc/cpuinfo").exists():
        lines = [line.partition(":") for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()]
        facts = {key.strip(): value.strip() for key, _, value in lines}
        name = facts.get("model name", name)
        has = [flag for flag in TOLD if flag in facts.get("flags", facts.get("Features", "")).split()]
    return f"{name} ({', '.join(has) or 'unknown'}), {os.cpu_count()} cores, ONNX Runtime {version('onnxruntime')}"
