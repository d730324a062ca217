"""Strangers' submissions, let loose on `tito grade` in a real sandbox: nobody earns more than the honest part is worth.

A batch is graded in one call. Of a batch the selected attacks are let loose, with an honest student among them; when
all is over, a witness says what they left behind. Every day some of each family are, at night all of them: `-m nightly`
runs the others, `-m ""` all.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from pathlib import Path

import pytest

from tito.course.module import load_module
from tito.course.project import Project

from ..toy_course import ROOT
from .attacks import Attack, catalogue
from .attacks.arena import HONEST, Row, fight
from .attacks.scene import Scene, copied, with_a_question

pytestmark = pytest.mark.sandbox
HERE = Project(ROOT)
ATTACKS = catalogue()
EVERY_DAY = 4


@dataclass(frozen=True)
class Batch:
    """Attacks that are graded in one call."""

    name: str
    attacks: tuple[Attack, ...]

    @property
    def group(self) -> pytest.MarkDecorator:
        """Of several test processes one gets the batch."""
        return pytest.mark.xdist_group(f"attacks: {self.name}")


def batches() -> list[Batch]:
    """A batch an exercise; of the one with most attacks two halves, and apart from them what only a limit ends."""
    families = sorted({attack.family for attack in ATTACKS})

    def name(attack: Attack) -> str:
        half = "first" if families.index(attack.family) < len(families) / 2 else "second"
        return "slow" if attack.slow else f"{attack.exercise}-{half}"

    return [Batch(one, tuple(some)) for one, some in groupby(sorted(ATTACKS, key=name), key=name)]


def of_every_day() -> set[Attack]:
    """Of each family the first that need no limit to end, and one that does."""
    chosen: set[Attack] = {next(attack for attack in ATTACKS if attack.slow)}
    for _, family in groupby(sorted(ATTACKS, key=lambda attack: attack.family), key=lambda attack: attack.family):
        chosen.update([attack for attack in family if not attack.slow][:EVERY_DAY])
    return chosen


BATCHES, CHOSEN = batches(), of_every_day()
each_batch = pytest.mark.parametrize("batch", [pytest.param(one, marks=one.group, id=one.name) for one in BATCHES])
each_attack = pytest.mark.parametrize(
    ("batch", "attack"),
    [
        pytest.param(
            batch,
            attack,
            marks=[batch.group, *([] if attack in CHOSEN else [pytest.mark.nightly])],
            id=f"{attack.family}-{attack.name}",
        )
        for batch in BATCHES
        for attack in batch.attacks
    ],
)


class Aftermath:
    """What everybody earned, and what the witness saw when all was over."""

    def __init__(self, scene: Scene, rows: list[Row]) -> None:
        self.rows = rows
        self.processes, self.files, self.heard = scene.processes(), scene.files(), list(scene.packets)
        self.called = scene.call()
        until = time.monotonic() + 10
        while len(scene.packets) < len(self.heard) + self.called and time.monotonic() < until:
            time.sleep(0.05)
        self.witnessed = len(scene.packets) - len(self.heard)


AftermathOf = Callable[[Batch], Aftermath]


@pytest.fixture(scope="module")
def aftermath_of(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AftermathOf:
    """Lets a batch loose, once. If none of its attacks is selected, the witness is asked about all of them."""
    folder = tmp_path_factory.mktemp("attacks ü ")
    project = with_a_question(copied(HERE, folder / "a course"))
    module = load_module(project, "17_quantization")
    asked = [item.callspec.params.get("attack") for item in request.session.items if hasattr(item, "callspec")]

    @cache
    def aftermath(batch: Batch) -> Aftermath:
        attacks = [attack for attack in batch.attacks if attack in asked] or list(batch.attacks)
        out = folder / f"out of {batch.name}"
        out.mkdir()
        with Scene(project, out) as scene:
            return Aftermath(scene, list(fight(scene, module, attacks)))

    return aftermath


@pytest.fixture
def aftermath(batch: Batch, aftermath_of: AftermathOf) -> Aftermath:
    return aftermath_of(batch)


def test_there_are_240_different_attacks_and_each_has_something_to_show_that_it_was_made() -> None:
    families = {attack.family for attack in ATTACKS}
    assert len({(attack.code, attack.others, attack.files) for attack in ATTACKS}) == len(ATTACKS) >= 240
    assert families == {path.stem for path in (Path(__file__).parent / "attacks").glob("*.toml")}
    assert sum(len(batch.attacks) for batch in BATCHES) == len(ATTACKS)
    assert [attack.name for attack in ATTACKS if not attack.proves] == []


@each_attack
def test_an_attack_earns_what_its_honest_part_is_worth(attack: Attack, aftermath: Aftermath) -> None:
    row = next((row for row in aftermath.rows if row.name == attack.name), None)
    assert row, f"{attack.tries}: it is missing from the report"
    assert row.status != "machinery", f"{attack.tries}: the grader itself failed: {row.message}"
    assert row.earned in row.may_earn, f"{attack.tries}: earned {row.earned}, not {row.may_earn}: {row.message}"
    assert not row.told, f"{attack.tries}: the report gives away {row.told}"
    assert row.acted, f"{attack.tries}: nothing shows that it was made: {row.message}"


@each_batch
def test_the_honest_student_keeps_all_points(aftermath: Aftermath) -> None:
    honest = [row for row in aftermath.rows if row.name == HONEST]
    assert honest
    for row in honest:
        assert row.held, f"among {len(aftermath.rows)} submissions the honest one earned {row.earned}: {row.message}"


@each_batch
def test_no_process_is_left(aftermath: Aftermath) -> None:
    assert aftermath.processes == []


@each_batch
def test_no_file_is_written_or_changed_but_in_the_output_folder(aftermath: Aftermath) -> None:
    assert aftermath.files == []


@each_batch
def test_no_packet_arrives_though_the_listeners_listen(aftermath: Aftermath) -> None:
    assert aftermath.heard == []
    assert aftermath.witnessed == aftermath.called, "the listeners heard less than was sent to them"
