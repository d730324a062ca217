"""JupyterLab as a program that Ctrl-C ends with a sentence, also while it is being imported, which takes seconds."""

from __future__ import annotations

import runpy
import sys

from tito.errors import Status

if __name__ == "__main__":
    try:
        runpy.run_module("jupyterlab", run_name="__main__", alter_sys=True)
    except KeyboardInterrupt:
        print("tito: stopped by Ctrl-C: JupyterLab no longer runs.", file=sys.stderr)
        raise SystemExit(Status.INTERRUPTED) from None
