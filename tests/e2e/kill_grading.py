"""Kills `tito grade` at random points, starts it again, and looks whether anything was lost.

A batch is killed again and again until it comes through; then the next begins. SIGKILL hits the parent alone, or its
process group, or every process below it at once, or one after the other from the sandboxes up, so that the grader sees
its sandboxes die; every fifth kill is Ctrl-C, of which it knows. Exits 1 unless every batch ends with the bytes of an
undisturbed one in grades.csv, and no process outlives a kill by more than PATIENCE seconds.

Run from the project's root, on Linux: `python -m tests.e2e.kill_grading`; see --help. It adopts orphans, and is
therefore a process of its own.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from tito.course.module import find_module_name, load_module
from tito.course.project import find_project

from .made_up_class import MadeUp
from .process_tree import adopt_orphans, below, described, kill, left_after

ROOT = Path(__file__).parents[2]
PATIENCE = 10.0  # seconds for what was started to notice that its parent is gone
GRADED = re.compile(r"^ *\d+ of \d+  ", re.MULTILINE)
ALONE, GROUP, ALL = "SIGKILL, the parent alone", "SIGKILL, its process group", "SIGKILL, every process at once"
UPWARDS, CTRL_C = "SIGKILL, from the sandboxes up", "Ctrl-C"
WAYS = (ALONE, GROUP, ALL, UPWARDS, CTRL_C)
STEP = 0.02  # seconds between two processes that are killed from the sandboxes up


@dataclass
class Round:
    """One batch, started as often as it takes."""

    command: list[str]
    out: Path
    starts: int = 0

    def __post_init__(self) -> None:
        self.said.touch()
        self.temporary.mkdir()

    def start(self) -> subprocess.Popen[bytes]:
        self.starts += 1
        with self.said.open("ab") as said:
            command = [*self.command, "--out", str(self.out)]
            env = os.environ | {"TMPDIR": str(self.temporary)}
            return subprocess.Popen(command, stdout=said, stderr=subprocess.STDOUT, env=env, start_new_session=True)

    def swept(self) -> int:
        """How many temporary folders there are; they are removed, and so are files by which Python tried the folder."""
        folders = [path for path in self.temporary.iterdir() if path.is_dir()]
        for folder in folders:
            shutil.rmtree(folder)
        for file in self.temporary.iterdir():
            file.unlink()
        return len(folders)

    @property
    def temporary(self) -> Path:
        return self.out.with_suffix(".tmp")

    @property
    def said(self) -> Path:
        return self.out.with_suffix(".txt")

    @property
    def told(self) -> int:
        """How many grades all starts together have told of."""
        return len(GRADED.findall(self.said.read_text(encoding="utf-8", errors="replace")))

    @property
    def grades(self) -> bytes:
        return (self.out / "grades.csv").read_bytes()


@dataclass
class Tally:
    kills: Counter[str] = field(default_factory=Counter)
    moments: Counter[str] = field(default_factory=Counter)
    left: list[str] = field(default_factory=list)
    slowest: float = 0.0
    rounds: int = 0
    differing: list[str] = field(default_factory=list)
    folders: Counter[str] = field(default_factory=Counter)  # temporary ones that were left


def killed(process: subprocess.Popen[bytes], way: str) -> None:
    """Kill now; unless it is by Ctrl-C, nothing can be tidied up."""
    with suppress(ProcessLookupError, subprocess.TimeoutExpired):
        if way == GROUP:
            os.killpg(process.pid, signal.SIGKILL)
        elif way == ALL:
            kill([process.pid, *below(process.pid)])
        elif way == UPWARDS:
            for number in reversed(below(process.pid)):
                kill([number])
                time.sleep(STEP)
        elif way == CTRL_C:
            process.send_signal(signal.SIGINT)
            process.wait(PATIENCE)
        process.kill()
    process.wait()


def moment(before: int, now: int, people: int) -> str:
    """How far a start had come when it was killed, by the grades that it has told of."""
    if now >= people:
        return "after the last grade"
    return "before it graded anybody" if now == before else "between two grades"


def play(round: Round, chance: random.Random, seconds: float, people: int, wanted: int, tally: Tally) -> None:
    """One batch to its end, with kills on the way while more are wanted."""
    while True:
        before = round.told
        process = round.start()
        limit = chance.uniform(0, seconds) if sum(tally.kills.values()) < wanted else None
        try:
            status = process.wait(limit)
        except subprocess.TimeoutExpired:
            way = WAYS[sum(tally.kills.values()) % len(WAYS)]
            killed(process, way)
            begun = time.monotonic()
            left = left_after(PATIENCE)
            tally.slowest = max(tally.slowest, time.monotonic() - begun)
            tally.left += [f"outlived a kill of {way}: {described(number)}" for number in left]
            kill(left)
            tally.kills[way] += 1
            tally.folders[way] += round.swept()
            tally.moments[moment(before, round.told, people)] += 1
            continue
        if status != 0:
            sys.exit(f"start {round.starts} ended with status {status}:\n{round.said.read_text(encoding='utf-8')}")
        tally.rounds += 1
        return


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--people", type=int, default=16, help="submissions in the batch")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--project", type=Path, default=ROOT)
    parser.add_argument("--module", default="17_quantization")
    parser.add_argument("--exercise", default="choose_qparams")
    parser.add_argument("--unsafe", action="store_true", help="without a sandbox")
    asked = parser.parse_args()
    adopt_orphans()
    here = find_project(asked.project)
    made_up = MadeUp(here, load_module(here, find_module_name(here, asked.module)))
    with tempfile.TemporaryDirectory(prefix="kill ü ") as temporary:
        folder = Path(temporary)
        for name, answers in made_up.people(asked.people, asked.people, asked.seed):
            for file, text in made_up.notebooks(answers, name).items():
                path = folder / "in" / name / file
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, encoding="utf-8")
        command = [sys.executable, "-m", "tito", "--project", str(here.root), "grade", asked.module, str(folder / "in")]
        command += ["--seed", "0", "--exercise", asked.exercise, *(["--unsafe"] if asked.unsafe else [])]
        return measure(command, folder, asked.people, asked.kills, random.Random(asked.seed))


def measure(command: list[str], folder: Path, people: int, kills: int, chance: random.Random) -> int:
    tally, undisturbed = Tally(), Round(command, folder / "undisturbed")
    begun = time.monotonic()
    play(undisturbed, chance, 0.0, people, 0, Tally())
    seconds = time.monotonic() - begun
    while sum(tally.kills.values()) < kills:
        batch = Round(command, folder / f"round {tally.rounds}")
        play(batch, chance, seconds, people, kills, tally)
        if batch.grades != undisturbed.grades:
            tally.differing.append(f"batch {tally.rounds}, started {batch.starts} times")
    tally.left += [f"left at the end: {described(number)}" for number in left_after(PATIENCE)]
    print(f"{people} submissions, undisturbed in {seconds:.1f} s")
    for title, counted in (
        ("killed by", tally.kills),
        ("when", tally.moments),
        ("temporary folders left by", tally.folders),
    ):
        print(title)
        for what, count in sorted(counted.items()):
            print(f"  {what:<40}{count:>6}")
    print(f"{'batches that came through':<42}{tally.rounds:>6}")
    print(f"{'  with the bytes of the undisturbed one':<42}{tally.rounds - len(tally.differing):>6}")
    print(f"{'processes that outlived a kill':<42}{len(tally.left):>6}")
    print(f"{'longest until all were gone, seconds':<42}{tally.slowest:>6.2f}")
    for problem in [*tally.differing, *tally.left]:
        print(problem)
    return int(bool(tally.differing or tally.left))


if __name__ == "__main__":
    sys.exit(main())
