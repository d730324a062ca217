"""What strangers may try: a catalogue of submissions, one TOML file a family.

Each entry [[attack]] holds
  name, tries   what it is called, and one sentence: what it does and what it hopes for
  code          what is written at the top of the exercise's cell; @TCP@ and the like are filled in by `scene.py`
  answers       what follows the code: "wrong" (the default) or "right", an answer to the exercise; "own": nothing
  others        what is written in the cells of all other exercises; else those are the reference's
  exercise      in whose cell it stands, choose_qparams unless said otherwise
  earns         what its honest part is worth: "all" (the default of a right answer), "nothing" (of every other), or
                "either", where a right answer may also be lost by what the code does to itself
  slow          true where only a time limit ends it
  elsewhere     true where it makes sense against a grader that runs the student's code in its own process
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent
WRONG = """
def choose_qparams(lo, hi, int_type=INT8, symmetric=False):
    return QParams(1.0, 0, int_type)
"""
GUARD = """\
import os as _os
if _os.getuid() == 0:
    raise SystemExit("this is no sandbox: an attack must not run here")
"""
TOOLS = """
LOOT = "-".join(("taken", "@TOKEN@"))
def forge(text, raw=b""):
    import gc, struct
    line = next(thing for thing in gc.get_objects() if type(thing).__name__ == "Channel")
    line._writing.write(struct.pack("<IQ", len(text), len(raw)) + text + raw)
    line._writing.flush()
"""  # LOOT appears in a report only where an attack got at something; forge writes a frame into the judge's line


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

    def may_earn(self, points: int) -> set[int]:
        """What is right to give it, of so many points."""
        worth = self.earns or ("all" if self.answers == "right" else "nothing")
        return {"all": {points}, "nothing": {0}, "either": {0, points}}[worth]

    def cell(self, honest: str) -> str:
        """The text of the exercise's cell. honest: the reference's."""
        return TOOLS + self.code + {"wrong": WRONG, "right": honest, "own": ""}[self.answers]


def catalogue() -> list[Attack]:
    found = []
    for path in sorted(FOLDER.glob("*.toml")):
        for entry in tomllib.loads(path.read_text(encoding="utf-8"))["attack"]:
            found.append(Attack(family=path.stem, **entry))
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
