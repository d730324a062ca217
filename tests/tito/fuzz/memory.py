"""What has been run once need not run again: outcomes, kept by a digest of exactly the code that would run.

This is sound because the tests are deterministic and see nothing else of a submission: they import the code that was
read, in a fresh process. Code is compared by its syntax tree, so comments and blank lines do not count; what Python
cannot parse is compared by its text. What is read out of a notebook, and every sentence about it, is never remembered:
each way reads every notebook anew.
"""

from __future__ import annotations

import ast
import hashlib
import json
import os
import pickle
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

Found = TypeVar("Found")


def meaning(source: str) -> str:
    """The same text for code that does the same because it differs in comments, blanks and quotes only."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.dump(ast.parse(source))
    except (SyntaxError, ValueError):
        return source


class Memory:
    """Results in a folder, which several processes share. Without a folder nothing is remembered."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self.runs = 0  # that this process made

    def recall(self, asked: Any, run: Callable[[], Found]) -> Found:
        """What `run` returned the first time that the same was asked."""
        if self._folder is None:
            self.runs += 1
            return run()
        digest = hashlib.sha256(json.dumps(asked, sort_keys=True).encode("utf-8", "surrogatepass")).hexdigest()
        kept = self._folder / digest
        if kept.is_file():
            found: Found = pickle.loads(kept.read_bytes())
            return found
        self.runs += 1
        found = run()
        beside = kept.with_suffix(f".{os.getpid()}")
        beside.write_bytes(pickle.dumps(found))
        beside.replace(kept)
        return found
