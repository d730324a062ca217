"""What strangers try against `tito grade`, and what it earned them; other graders beside it, where an attack fits.

    python -m benchmarks.attacks [FAMILY...] [--as USER] [--login]
    python -m benchmarks.attacks [FAMILY...] --with nbgrader,otter [--nbgrader PYTHON] [--otter PYTHON]

The attacks stand in tests/tito/grading/attacks. Every batch holds an honest student, who must keep all points. The exit
status is 1 unless every attack is held and shows that it was made, and no process, file or packet is left outside.
--as USER: root grades as this user, who must be able to read the course and this Python. --login: grade as in a login
session, whose keyring holds a secret. PYTHON: one with that grader.
Other graders run the attacks that are marked `elsewhere`, for these make sense there too, and run them in this very
machine: they are harmless, but they do succeed. All takes about 12 minutes.
"""

from __future__ import annotations

import argparse
import os
import pwd
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import NoReturn

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from benchmarks import graders
from tests.catalogue import solved
from tests.tito.grading.attacks import Attack, catalogue, handed_in
from tests.tito.grading.attacks.arena import HONEST, Row, fight
from tests.tito.grading.attacks.scene import Scene, copied, with_a_question
from tito.course.module import Module, load_module
from tito.course.project import Project

ROOT = Path(__file__).resolve().parents[1]
MODULE = "17_quantization"
SETTLE_SECONDS = 2.0  # for what was left behind to show itself
SPOILING = ("forging", "lingering")
LIMIT_SECONDS = 60.0  # of a submission in another grader: ten times what an honest one takes there


class Arena:
    """A copy of the course, and a witness, for one grader."""

    def __init__(self, folder: Path, asking: bool, login: bool) -> None:
        """asking: its tests ask who acted."""
        self.project, self._login = copied(Project(ROOT), folder / "course"), login
        if asking:
            with_a_question(self.project)
        self.module: Module = load_module(self.project, MODULE)
        self.out = folder / "out"
        self.out.mkdir()

    def observed(self, batch: Callable[[Scene], list[Row]]) -> tuple[list[Row], dict[str, int]]:
        """The rows, and how much of what was left or sent."""
        with Scene(self.project, self.out, login=self._login) as scene:
            rows = batch(scene)
            time.sleep(SETTLE_SECONDS)
            seen = {"processes left": scene.processes(), "files outside": scene.files(), "packets": list(scene.packets)}
            heard, called = len(scene.packets), scene.call()
            time.sleep(SETTLE_SECONDS)
            if len(scene.packets) < heard + called:
                sys.exit("the listeners do not hear: what they did not hear proves nothing")
            scene.sweep()
        return rows, {what: len(found) for what, found in seen.items()}


def ours(scene: Scene, module: Module, attacks: list[Attack], console: Console) -> list[Row]:
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        return list(progress.track(fight(scene, module, attacks), total=len(attacks), description="tito grade"))


def theirs(scene: Scene, module: Module, attacks: list[Attack], name: str, python: Path) -> list[Row]:
    """The same attacks, but for the guard that keeps them in a sandbox."""
    exercise = module.exercises[0]
    cells = solved(scene.project, module)
    who = {HONEST: cells} | {attack.name: handed_in(attack, cells, scene.fill, guard="") for attack in attacks}
    home = scene.out / "home"
    home.mkdir()
    env = os.environ | {"PYTHONPATH": str(scene.project.root), "HOME": str(home)}
    if name == "nbgrader":
        graded = graders.nbgrader(python, scene.project, module, who, (exercise,), env, LIMIT_SECONDS)
    else:
        graded = graders.otter(python, scene.project, module, who, exercise, env, LIMIT_SECONDS)
    rows, known = list[Row](), {attack.name: attack for attack in attacks}
    for one in who:
        attack = known.get(one)
        may = attack.may_earn(exercise.points) if attack else {exercise.points}
        earned, status = graded.scores.get(one, 0.0), "graded" if one in graded.scores else "no grade"
        family = attack.family if attack else ""
        rows.append(Row(one, family, round(earned), may, status, graded.seconds / len(who), [], ""))
    return rows


def batches(attacks: list[Attack]) -> list[list[Attack]]:
    """A family each; of those that reach for other people's grades, every attack alone: else one's spoils are all's."""

    def batch(attack: Attack) -> tuple[str, str]:
        return attack.family, attack.name if attack.family in SPOILING else ""

    return [list(some) for _, some in groupby(attacks, key=batch)]


def table(title: str, rows: list[Row]) -> Table:
    shown = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for name in ("attack", "family"):
        shown.add_column(name)
    for name in ("earned", "honest part", "seconds"):
        shown.add_column(name, justify="right")
    shown.add_column("")
    for row in sorted(rows, key=lambda row: (row.family, row.name)):
        worth = " or ".join(map(str, sorted(row.may_earn)))
        shown.add_row(row.name, row.family, str(row.earned), worth, f"{row.seconds:.2f}", verdict(row))
    return shown


def verdict(row: Row) -> str:
    """What is wrong with a row, in a word and what was said; nothing where the attack was made and held."""
    if row.earned > max(row.may_earn):
        return "STOLEN"
    if row.told:
        return "TOLD"
    if row.held:
        return ""
    return f"{'LOST' if row.acted else 'NEVER ACTED'}: {row.message}"


def totals(name: str, rows: list[Row], left: dict[str, int]) -> dict[str, int | str]:
    """The line of the last table."""
    attacks = [row for row in rows if row.name != HONEST]
    honest = [row for row in rows if row.name == HONEST]
    gained = sum(max(0, row.earned - max(row.may_earn)) for row in attacks)
    line: dict[str, int | str] = {
        "grader": name,
        "attacks": len(attacks),
        "acted": sum(row.acted for row in attacks),
        "held": sum(row.held for row in attacks),
        "points gained": gained,
        "secrets told": sum(bool(row.told) for row in rows),
        "honest harmed": f"{sum(not row.held for row in honest)} of {len(honest)}",
    }
    return line | left


def become(name: str) -> NoReturn:
    """Begin anew as this user, with that user's home and packages: what root started root alone may undo."""
    user = pwd.getpwnam(name)
    os.initgroups(name, user.pw_gid)
    os.setgid(user.pw_gid)
    os.setuid(user.pw_uid)
    os.environ |= {"HOME": user.pw_dir, "USER": name, "LOGNAME": name}
    os.execv(sys.executable, [sys.executable, "-m", "benchmarks.attacks", *sys.argv[1:], "--as", ""])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("families", nargs="*", metavar="FAMILY")
    parser.add_argument("--with", dest="others", default="", metavar="nbgrader,otter")
    parser.add_argument("--nbgrader", type=Path, default=Path(sys.executable), metavar="PYTHON")
    parser.add_argument("--otter", type=Path, default=Path(sys.executable), metavar="PYTHON")
    parser.add_argument("--as", dest="user", default="", metavar="USER")
    parser.add_argument("--login", action="store_true")
    options = parser.parse_args()
    if options.user:
        become(options.user)
    console, lines = Console(width=None if sys.stdout.isatty() else 140), list[dict[str, int | str]]()
    attacks = [attack for attack in catalogue() if not options.families or attack.family in options.families]
    elsewhere = [attack for attack in attacks if attack.elsewhere]
    pythons = {"nbgrader": options.nbgrader, "otter": options.otter}
    for name in ["tito", *filter(None, options.others.split(","))]:
        package = {"tito": "tinytorch", "otter": "otter-grader"}.get(name, name)
        python = pythons.get(name, Path(sys.executable))
        title = "tito grade" if name == "tito" else f"{package} {graders.version(python, package)}"
        if not title.split()[1:]:
            sys.exit(f"{package} is not installed in {python}: name another Python with --{name}")
        rows, left = list[Row](), Counter[str]()
        for some in [attacks] if name == "tito" else batches(elsewhere):  # theirs spoil the course for those after
            with tempfile.TemporaryDirectory(prefix="attacks_", ignore_cleanup_errors=True) as folder:
                arena = Arena(Path(folder), asking=name == "tito", login=options.login)
                graded = partial(ours, console=console) if name == "tito" else partial(theirs, name=name, python=python)
                more, seen = arena.observed(partial(graded, module=arena.module, attacks=some))
                rows += more
                left.update(seen)
        console.print(table(title, rows), "")
        lines.append(totals(title, rows, dict(left)))
        if name == "tito" and options.others:
            same = [row for row in rows if row.name == HONEST or row.name in {attack.name for attack in elsewhere}]
            lines.append(totals("  of these, those that fit the others", same, dict(left)))
    summed = Table(box=None, pad_edge=False)
    for column in lines[0]:
        summed.add_column(column, justify="left" if column == "grader" else "right")
    for line in lines:
        summed.add_row(*map(str, line.values()))
    console.print(summed)
    first = lines[0]
    clean = first["held"] == first["attacks"] and str(first["honest harmed"]).startswith("0 of")
    return 0 if clean and not any(first[what] for what in ("processes left", "files outside", "packets")) else 1


if __name__ == "__main__":
    sys.exit(main())
