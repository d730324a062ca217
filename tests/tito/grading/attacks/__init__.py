"""What strangers may try: a catalogue of submissions, one TOML file a family.

Each entry [[attack]] holds
  name, tries   what it is called, and one sentence: what it does and what it hopes for
  code          what is written at the top of the exercise's cell; @TCP@ and the like are filled in by `scene.py`
  variants      texts for @VARIANT@ in the code, each handed in by itself: one that ends its sandbox stops no other
  answers       what follows the code: "wrong" (the default) or "right", an answer to the exercise; "own": nothing;
                "telling": an answer that says `told`, which begins with ACTED
  others        what is written in the cells of all other exercises; else those are the reference's
  exercise      in whose cell it stands, choose_qparams unless said otherwise
  earns         what its honest part is worth: "all" (the default of a right answer), "nothing" (of every other), or
                "either", where a right answer may also be lost by what the code does to itself
  files         what is handed in beside the notebook, in one zip: the names of its entries; each holds the code, and
                `LINK name` is a symbolic link
  notebook      what is put into the notebook's own JSON beside its cells, as JSON
  slow          true where only a time limit ends it
  shows         where its own sandbox ends: what the report then says, a regular expression
  elsewhere     true where it makes sense against a grader that runs the student's code in its own process

An attack that is never made proves nothing. So each calls `acted()` when it has done what it tries, or was refused it;
a test that `arena.py` adds to the copied course asks for that. Otherwise ACTED or `shows` must stand in its report.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

FOLDER = Path(__file__).parent
WRONG = """
def choose_qparams(lo, hi, int_type=INT8, symmetric=False):
    return QParams(1.0, 0, int_type)
"""
TELLING = """
def choose_qparams(lo, hi, int_type=INT8, symmetric=False):
    raise RuntimeError(told)
"""
GUARD = """\
import os as _os
if _os.getuid() == 0:
    raise SystemExit("this is no sandbox: an attack must not run here")
"""
TOOLS = """
LOOT, ACTED, MADE = "-".join(("taken", "@TOKEN@")), "-".join(("acted", "@TOKEN@")), []
KEPT = [thing for thing in __import__("gc").get_objects() if type(thing).__name__ == "Channel"]
def acted():
    MADE.append(True)
def witnessed():
    return f"{ACTED} @NAME@" if MADE else ""
def send(data):
    KEPT[0]._writing.write(data)
    KEPT[0]._writing.flush()
def forge(text, raw=b""):
    import struct
    send(struct.pack("<IQ", len(text), len(raw)) + text + raw)
def LONGS(*numbers):
    import ctypes
    KEPT.append((ctypes.c_long * len(numbers))(*numbers))
    return ctypes.addressof(KEPT[-1])
def calls(**made):
    import ctypes
    libc, told = ctypes.CDLL(None, use_errno=True), ACTED
    for name, call in made.items():
        if libc.syscall(*(one if isinstance(one, bytes) else ctypes.c_long(one) for one in call)) >= 0:
            raise RuntimeError(f"{LOOT}: {name}")
        told += f" {name}: {ctypes.get_errno()}"
    return told
"""
# LOOT appears in a report only where an attack got at something. send writes into the judge's line, forge a frame;
# calls makes system calls by number, and tells with which error each of them ended.


@dataclass(frozen=True)
class Attack:
    name: str
    family: str
    tries: str
    code: str
    answers: str = "wrong"
    others: str = ""
    exercise: str = "choose_qparams"
    earns: str = ""
    slow: bool = False
    elsewhere: bool = False
    shows: str = ""
    files: tuple[str, ...] = ()
    notebook: str = "{}"

    @property
    def proves(self) -> bool:
        """Is there something to show that it was made?"""
        return bool(self.shows) or "acted()" in self.code or "ACTED" in self.code or self.answers == "telling"

    def variant(self, number: int, text: str) -> Attack:
        """One of several: its text in the place of @VARIANT@."""
        files = tuple(name.replace("@VARIANT@", text) for name in self.files)
        return replace(self, name=f"{self.name}-{number}", code=self.code.replace("@VARIANT@", text), files=files)

    def may_earn(self, points: int) -> set[int]:
        """What is right to give it, of so many points."""
        worth = self.earns or ("all" if self.answers == "right" else "nothing")
        return {"all": {points}, "nothing": {0}, "either": {0, points}}[worth]

    def cell(self, honest: str) -> str:
        """The text of the exercise's cell. honest: the reference's."""
        return TOOLS + self.code + {"wrong": WRONG, "right": honest, "own": "", "telling": TELLING}[self.answers]


def catalogue() -> list[Attack]:
    found = []
    for path in sorted(FOLDER.glob("*.toml")):
        for entry in tomllib.loads(path.read_text(encoding="utf-8"))["attack"]:
            variants = entry.pop("variants", ())
            single = Attack(family=path.stem, files=tuple(entry.pop("files", ())), **entry)
            found += [single.variant(*numbered) for numbered in enumerate(variants, 1)] or [single]
    return found


def handed_in(
    attack: Attack, cells: dict[str, tuple[str, ...]], fill: Callable[[str, str], str], guard: str = GUARD
) -> dict[str, tuple[str, ...]]:
    """The cells of the attacker's notebook. fill: what puts names and numbers of this machine in."""
    mine: dict[str, tuple[str, ...]] = dict(cells)
    if attack.others:
        mine = dict.fromkeys(cells, (attack.others,))
    mine[attack.exercise] = (attack.cell("\n".join(cells[attack.exercise])),)
    changed = [exercise for exercise in mine if mine[exercise] is not cells[exercise]]
    return mine | {exercise: (fill(guard + mine[exercise][0], attack.name),) for exercise in changed}
