"""A Gradescope autograder: the zip that is uploaded, and how an exercise stands in its words.

What runs in Gradescope's container is `tito.releasing.gradescope_autograder`.
"""

from __future__ import annotations

from importlib import resources

from tito import archive
from tito.course.module import Module
from tito.course.project import Project
from tito.releasing import release
from tito.releasing.release import Tree

SCRIPTS = ("setup.sh", "run_autograder")
WITHHELD = "withheld"  # hidden tests, beside the course


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
    text = resources.files("tito.releasing").joinpath("templates", f"gradescope_{name}").read_text(encoding="utf-8")
    return text.replace("MODULE_NAME", module.name).encode()
