"""How a batch is graded: what decides a grade, and which part of a batch is graded here."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Literal

from tito.errors import WrongCall

Several = Literal["best", "newest"]  # which counts of what one student handed in several times
LONGEST_SECONDS = 86_400.0  # a day
LARGEST_SEED = 2**32 - 1  # what every generator takes: Python's, NumPy's, hypothesis'


@dataclass(frozen=True)
class Options:
    """What decides a grade besides the submission, the course and this grader. Raises WrongCall out of its bounds.

    seed: of the tests' random inputs; the same seed gives the same grade. None: one that nobody can foresee is drawn.
    """

    seed: int | None = None
    limit_seconds: float = 120.0  # for one submission
    exercise: str | None = None  # only this one is graded
    unsafe: bool = False  # without a sandbox

    def __post_init__(self) -> None:
        for name, value, lowest, highest in (
            ("seed", self.seed or 0, 0, LARGEST_SEED),
            ("limit_seconds", self.limit_seconds, 1, LONGEST_SECONDS),
        ):
            if not lowest <= value <= highest:
                raise WrongCall(f"{name} must be from {lowest:.15g} to {highest:.15g}, got {value}")

    def seeded(self, kept: int | None = None) -> Options:
        """With a seed: its own, else the one that was kept, else a new one."""
        import secrets  # late: it loads hashlib, and every command reads this file

        if self.seed is not None:
            return self
        return replace(self, seed=secrets.randbelow(LARGEST_SEED + 1) if kept is None else kept)


@dataclass(frozen=True)
class Shard:
    """One of `count` parts of a batch, counted from 1. A name falls to the same part on every machine."""

    number: int = 1
    count: int = 1

    @classmethod
    def from_text(cls, text: str) -> Shard:
        """`2/3` -> the second of three. Raises WrongCall."""
        match = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text)
        if not match or not 1 <= int(match[1]) <= int(match[2]):
            raise WrongCall(f"--shard must be I/N with I from 1 to N, as 2/3 is; got '{text}'")
        return cls(int(match[1]), int(match[2]))

    def holds(self, name: str) -> bool:
        import hashlib

        digest = hashlib.sha256(name.encode()).digest()
        return int.from_bytes(digest[:8], "big") % self.count == self.number - 1

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"
