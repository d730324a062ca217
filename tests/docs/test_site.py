"""The site's own checks find what they look for, and a lesson's page shows no solution.

`nox -s site -- browser` builds the whole site and opens every page.
"""

from __future__ import annotations

from pathlib import Path

import nbformat

from website import links
from website.__main__ import PAGES, for_the_site
from website.lessons import cell, outputs

HEAD = '<link rel="stylesheet" href="a.css">'


def site(folder: Path, **pages: str) -> Path:
    for name, text in pages.items():
        (folder / f"{name}.html").write_text(text, encoding="utf-8")
    (folder / "a.css").touch()
    return folder


def test_a_site_whose_links_lead_somewhere_is_right(tmp_path: Path) -> None:
    one = f'{HEAD}<h1 id="top">x</h1><a href="two.html#end">x</a><a href="#top">x</a><a href="https://x.example">x</a>'
    assert not links.wrong(site(tmp_path, one=one, two='<h2 id="end">x</h2>'))


def test_what_leads_nowhere_or_is_fetched_elsewhere_is_found(tmp_path: Path) -> None:
    one = '<a href="three.html">x</a><a href="two.html#no">x</a><img src="no.svg"><script src="https://x.example/y.js">'
    found = links.wrong(site(tmp_path, one=one, two="x"))
    assert sorted(found) == [
        "one.html fetches https://x.example/y.js",
        "one.html: no.svg leads nowhere",
        "one.html: three.html leads nowhere",
        "one.html: two.html#no names no heading",
    ]


def test_a_list_begins_after_an_empty_line_and_a_named_page_is_a_link() -> None:
    text = "See `docs/a.md`:\n- one\n- two\n```\n- `docs/a.md`\n```"
    wanted = "See [`docs/a.md`](../docs/a.md):\n\n- one\n- two\n```\n- `docs/a.md`\n```"
    assert for_the_site(text, PAGES / "docs") == wanted


def test_a_lesson_shows_the_students_cell_and_the_plot_of_the_solved_one(tmp_path: Path) -> None:
    student = nbformat.v4.new_code_cell("#| export\n#| exercise: f\ndef f():\n    ...")
    picture = nbformat.v4.new_output("display_data", {"image/png": "iVBORw0KGgo=", "text/plain": "<Figure>"})
    run = nbformat.v4.new_code_cell("#| export\n#| exercise: f\ndef f():\n    return 42", outputs=[picture])
    told, code, plot = cell(student, run, tmp_path, "lesson-3")
    assert "`f`" in told and code == "````python\ndef f():\n    ...\n````"
    assert plot.endswith("(lesson-3-0.png)") and (tmp_path / "lesson-3-0.png").read_bytes().startswith(b"\x89PNG")


def test_a_slider_is_left_out_and_colours_of_a_terminal_are(tmp_path: Path) -> None:
    slider = nbformat.v4.new_output("display_data", {"application/vnd.jupyter.widget-view+json": {}, "text/plain": "x"})
    stream = nbformat.v4.new_output("stream", text="\x1b[32mpassed\x1b[0m\n")
    assert list(outputs([slider, stream], tmp_path, "x")) == ["````text\npassed\n````"]
