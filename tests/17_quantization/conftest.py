"""Tests import `checks_17` and `oracle_17`, which stand beside them, by name, from whichever folder they are run.

pytest finds tests by their paths and puts no folder on `sys.path`. The names end in the module's number, because two
modules may be tested in one process.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path


def importable(name: str) -> None:
    """Let `import name` find the file of that name in this folder."""
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec and spec.loader
    sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules[name])


importable("oracle_17")
importable("checks_17")
