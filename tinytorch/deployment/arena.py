"""One block of memory for all arrays of a network: what does not live at the same time may lie at the same place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Lifetime:
    """An array of so many bytes, from the step that makes it to the last one that reads it."""

    name: str
    size: int
    first: int
    last: int

    def meets(self, other: Lifetime) -> bool:
        """Whether both are there in some step."""
        return self.first <= other.last and other.first <= self.last


def placed(arrays: Sequence[Lifetime]) -> tuple[dict[str, int], int]:
    """The offset of every array, and the bytes of all: the largest first, each as low as it fits."""
    offsets: dict[str, int] = {}
    there: list[Lifetime] = []
    for array in sorted(arrays, key=lambda a: (-a.size, a.first)):
        at = 0
        for other in sorted((o for o in there if o.meets(array)), key=lambda o: offsets[o.name]):
            if at + array.size <= offsets[other.name]:
                break
            at = max(at, offsets[other.name] + other.size)
        offsets[array.name] = at
        there.append(array)
    return offsets, max((offsets[a.name] + a.size for a in there), default=0)
