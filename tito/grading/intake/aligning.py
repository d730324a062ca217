"""A student's cells of an exercise beside the given ones: which stands in whose place, with or without directives.

A cell is known by its directive, else by what it defines. To import a name, to call it or to change what it holds is
not to define it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from functools import cached_property

from tito.course.notebook import Cell
from tito.grading.intake import lexing

BETWEEN = "\n\n\n"  # cells that stand in the place of one


@dataclass(frozen=True)
class Slot:
    """One given cell of an exercise: its stub, and the names by which it is known."""

    source: str

    @cached_property
    def defines(self) -> lexing.Definitions:
        return lexing.definitions(self.source)

    @cached_property
    def names(self) -> Set[str]:
        """Its functions and classes; of a cell without any, what it assigns to."""
        return {name for name, how in self.defines.items() if how != "="} or self.defines.keys()


@dataclass(frozen=True)
class Aligner:
    """Fits the cells of one notebook to given ones."""

    cells: Sequence[Cell]
    grade_ids: Mapping[int, str]
    exercises: frozenset[str]  # the known ids

    def fit(self, exercise: str, slots: Sequence[Slot], remarks: list[str]) -> tuple[str, ...]:
        """As many sources as the exercise has given cells; empty where nothing of it was found.

        Several cells for one place are joined in order, as the notebook would run them. A cell that is missing among
        others is given back as its stub. `remarks` gets what the student should know.
        """
        own = [cell for cell in self.cells if cell.exercise == exercise]
        own += self._without_directive(exercise, slots, own, remarks)
        own.sort(key=lambda cell: cell.number)
        places = self._places(slots, own)
        sources = [[cell.code for cell, at in zip(own, places, strict=True) if at == n] for n in range(len(slots))]
        if not own:
            return ()
        for slot in slots:
            definers = [cell for cell in own if slot.names & self._defines[cell.number].keys()]
            if len(definers) > 1:
                what = " or ".join(sorted(slot.names))
                remarks.append(f"{exercise}: several cells define {what}; as in the notebook, the last one counts")
        for slot, here in zip(slots, sources, strict=True):
            if not here and not any(slot.names & self._defines[cell.number].keys() for cell in own):
                remarks.append(f"{exercise}: the cell that defines {' and '.join(sorted(slot.names))} is missing")
                here.append(slot.source)
        return tuple(BETWEEN.join(here) for here in sources)

    def has(self, exercise: str, slots: Sequence[Slot]) -> bool:
        return any(cell.exercise == exercise for cell in self.cells) or any(map(self._claimants, slots))

    @cached_property
    def _defines(self) -> dict[int, lexing.Definitions]:
        return {cell.number: lexing.definitions(cell.code) for cell in self.cells}

    def _places(self, slots: Sequence[Slot], own: Sequence[Cell]) -> list[int]:
        """For each cell the place it takes: by what it defines; in the given order where their numbers agree."""
        names = [self._defines[cell.number].keys() for cell in own]
        by_name = [next((i for i, slot in enumerate(slots) if slot.names & defined), None) for defined in names]
        if len(own) == len(slots) and all(place in (index, None) for index, place in enumerate(by_name)):
            return list(range(len(slots)))
        below = next((place for place in reversed(by_name) if place is not None), 0)
        places = list[int]()
        for place in reversed(by_name):  # a helper goes with the cell below it
            below = below if place is None else place
            places.insert(0, below)
        return places

    def _without_directive(
        self, exercise: str, slots: Sequence[Slot], own: Sequence[Cell], remarks: list[str]
    ) -> list[Cell]:
        """Cells that lost their line `#| exercise: ...`, known by what they define; by nbgrader's name if need be."""
        found = list[Cell]()
        line = f"`#| exercise: {exercise}`"
        for slot in slots:
            claimants = self._claimants(slot)
            if any(slot.names & self._defines[cell.number].keys() for cell in own) or not claimants:
                continue
            named = [cell for cell in claimants if self.grade_ids.get(cell.number, "").startswith(f"{exercise}-")]
            claimants = named if len(claimants) > 1 and named else claimants
            if len(claimants) > 1:
                what = " and ".join(sorted(slot.names))
                remarks.append(
                    f"{exercise}: {len(claimants)} cells define {what}, none under the line {line}: none counts"
                )
            elif claimants[0] not in found:
                remarks.append(
                    f"{exercise}: cell {claimants[0].number} lost its line {line}, and was taken nevertheless"
                )
                found.append(claimants[0])
        return found

    def _claimants(self, slot: Slot) -> list[Cell]:
        """Cells of no exercise that define what the given cell does: in the same way, else in any."""
        free = [cell for cell in self.cells if cell.exercise not in self.exercises]
        fitting = [cell for cell in free if slot.names and slot.names <= self._defines[cell.number].keys()]
        return [cell for cell in fitting if self._alike(slot, cell)] or fitting

    def _alike(self, slot: Slot, cell: Cell) -> bool:
        return all(self._defines[cell.number][name] == slot.defines[name] for name in slot.names)
