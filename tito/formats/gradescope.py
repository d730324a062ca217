"""A Gradescope autograder: the zip that is uploaded, and how an exercise stands in its words.

What runs in Gradescope's container is `tito.formats.autograder`.
"""

from __future__ import annotations

from importlib import resources
from typing import Any

from tito import archive, release
from tito.course import Module
from tito.project import Project
from tito.release import Tree
from tito.verdicts import HIDDEN, Outcome

SCRIPTS = ("setup.sh", "run_autograder")
WITHHELD = "withheld"  # hidden tests, beside the course
UNTOLD = "The tests that you have pass, but a hidden one does not: which inputs did you not think of?"


def upload(here: Project, module: Module) -> Tree:
    """autograder.zip, and a README that says where it goes."""
    inside: Tree = {name: _script(name, module) for name in SCRIPTS}
    inside |= {f"course/{name}": data for name, data in release.student_edition(here, module).items()}
    hidden = here.test_files(module.name, "any")[1].parent
    for path in sorted(hidden.glob("*.py")):
        inside[f"{WITHHELD}/{path.name}"] = path.read_bytes()
    packed = archive.pack(inside, frozenset(SCRIPTS))
    return {"README.md": release.readme(here, module, "gradescope.md").encode(), "autograder.zip": packed}


def _script(name: str, module: Module) -> bytes:
    text = resources.files("tito").joinpath("templates", f"gradescope_{name}").read_text(encoding="utf-8")
    return text.replace("MODULE_NAME", module.name).encode()


def entry(number: int, outcome: Outcome) -> dict[str, Any]:
    """An exercise as a test of Gradescope's. What a hidden test asks, and what came, is not told."""
    told = UNTOLD if outcome.message.endswith(HIDDEN) else outcome.message
    return {
        "number": str(number),
        "name": f"{outcome.id}: {outcome.title}",
        "score": outcome.points,
        "max_score": outcome.of,
        "status": "passed" if outcome.status == "passed" else "failed",
        "output": told or "passed",
        "output_format": "text",
        "visibility": "visible",
    }
