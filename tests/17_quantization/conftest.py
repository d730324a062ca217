"""Tests import the helpers that stand beside them by name, from whichever folder they are run.

pytest finds tests by their paths and puts no folder on `sys.path`. The helpers' names end in the module's number,
because two modules may be tested in one process.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent))
