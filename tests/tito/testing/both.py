"""One answer to the exercise `double`, judged twice: by `tito test`, and by `check` in a notebook's kernel."""

from __future__ import annotations

import linecache
from typing import Any

import pytest

from tito.testing.in_notebook import check

from ..toy_course import NOTEBOOK, Course


def exercise(body: str) -> str:
    return f"#| export\n#| exercise: double\ndef double(x):\n    {body}"


def by_tito_test(course: Course, *cells: str, limit_seconds: int = 60) -> str:
    """What the command prints where these cells stand in the place of the exercise's own."""
    text = course.read(NOTEBOOK)
    begin = text.index("# %%\n#| export\n#| exercise: double")
    end = text.index("# %%", begin + 1)
    course.write(NOTEBOOK, text[:begin] + "".join(f"# %%\n{cell}\n\n" for cell in cells) + text[end:])
    return course.tito("test", "double", "--limit-seconds", str(limit_seconds)).out


def by_check(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *cells: str) -> str:
    """What `check` prints after a kernel ran these cells."""
    capsys.readouterr()
    defined = run_cells(monkeypatch, *cells)
    check("double", defined)
    return capsys.readouterr().out


def run_cells(monkeypatch: pytest.MonkeyPatch, *cells: str) -> dict[str, Any]:
    """Run cells as IPython does, which remembers their texts."""
    defined: dict[str, Any] = {"In": ["", *cells]}
    for number, source in enumerate(cells, 1):
        name = f"/tmp/ipykernel_1/{number}.py"
        monkeypatch.setitem(linecache.cache, name, (len(source), None, source.splitlines(keepends=True), name))
        exec(compile(source, name, "exec"), defined)
    return defined
