"""Strangers' submissions, let loose on `tito grade` in a real box: nobody earns more than the honest part is worth."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tito import course
from tito.project import Project

from .attacks import catalogue
from .attacks.arena import HONEST, Row, fight
from .attacks.scene import Scene, copied

pytestmark = pytest.mark.box
HERE = Project(Path(__file__).parents[3])
ATTACKS = catalogue()


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


@pytest.fixture(scope="module")
def aftermath() -> Iterator[Aftermath]:
    with tempfile.TemporaryDirectory(prefix="attacks ü ") as folder:
        project, out = copied(HERE, Path(folder, "a course")), Path(folder, "out")
        out.mkdir()
        with Scene(project, out) as scene:
            rows = list(fight(scene, course.load(project, "17_quantization"), ATTACKS))
            yield Aftermath(scene, rows)


def test_there_are_sixty_different_attacks_and_more_of_every_family() -> None:
    families = {attack.family for attack in ATTACKS}
    assert len({(attack.code, attack.others) for attack in ATTACKS}) == len(ATTACKS) >= 60
    assert families == {path.stem for path in (Path(__file__).parent / "attacks").glob("*.toml")}


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: f"{attack.family}-{attack.name}")
def test_an_attack_earns_what_its_honest_part_is_worth(attack, aftermath) -> None:
    row = next((row for row in aftermath.rows if row.name == attack.name), None)
    assert row, f"{attack.tries}: it is missing from the report"
    assert row.status != "machinery", f"{attack.tries}: the grader itself failed: {row.message}"
    assert row.earned in row.may_earn, f"{attack.tries}: earned {row.earned}, not {row.may_earn}: {row.message}"
    assert not row.told, f"{attack.tries}: the report gives away {row.told}"


def test_in_every_batch_the_honest_student_keeps_all_points(aftermath) -> None:
    honest = [row for row in aftermath.rows if row.name == HONEST]
    assert len(honest) >= 2
    for row in honest:
        assert row.held, f"among {len(aftermath.rows)} submissions the honest one earned {row.earned}: {row.message}"


def test_no_process_is_left(aftermath) -> None:
    assert aftermath.processes == []


def test_no_file_is_written_or_changed_but_in_the_output_folder(aftermath) -> None:
    assert aftermath.files == []


def test_no_packet_arrives_though_the_listeners_listen(aftermath) -> None:
    assert aftermath.heard == []
    assert aftermath.witnessed == aftermath.called, "the listeners heard less than was sent to them"
