"""The reports, harmless whatever strangers wrote, and readable by everybody and everywhere."""

from __future__ import annotations

import base64
import doctest
import hashlib
import re
import unicodedata
from pathlib import Path
from types import ModuleType
from urllib.parse import unquote

import pytest

from tito.course.module import Module
from tito.grading.grade import Grade
from tito.grading.reports import adjustments, escaping, gradebooks, side_by_side, tables, writing
from tito.grading.reports.standing import Instructions
from tito.grading.similarity import Pair
from tito.testing.outcome import Finding, Reason, outcome_of

from .reported import (
    ABOUT,
    HOSTILE,
    UNSAFE,
    Page,
    grade,
    grades_of,
    hostile,
    hostile_pairs,
    machinery,
    pages,
    refused,
    rows,
    slip,
    written,
)

BAD = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")


# What strangers wrote


def test_no_name_leaves_the_folder_or_meets_another_s_file(tmp_path: Path, module: Module) -> None:
    names = sorted({*HOSTILE, "index", "students"})
    files = written(tmp_path, module, [grade(module, name) for name in names], hostile_pairs())
    made = [Path(name) for name in files if name.startswith(("students/", "similar/"))]
    assert len(made) == len(names) + len(hostile_pairs()) and all(len(path.parts) == 2 for path in made)
    folded = {unicodedata.normalize("NFKC", path.as_posix()).casefold() for path in made}
    assert len(folded) == len(made), "two pages are one file where case or composition is not kept"
    for path in made:
        assert not re.search(r'[<>:"/\\|?*\x00-\x1f]', path.name), f"Windows refuses {path.name!r}"
        assert path.stem.split(".")[0].strip().upper() not in escaping.DEVICES, f"Windows refuses {path.name!r}"
        assert path.stem == path.stem.strip() or not path.stem.strip().startswith(".")
        assert not path.name.startswith((".", "-", " ")) and len(path.name.encode()) <= 220
    index = Page(files["index.html"])
    linked = {unquote(link) for link in index.links if not link.startswith("#")}
    assert linked == {path.as_posix() for path in made} | {"items.html"}, "every link must find its page"


def test_plain_names_stay_readable_as_file_names() -> None:
    names = ["jane", "Curie, Marie", "Søren K.", "team_12", "李雷", "a@b.org"]
    assert escaping.file_names(names) == {name: name for name in names}


@pytest.mark.parametrize("reason", ["claim", "exception", "not loaded", "timeout", "ended"])
def test_what_code_says_stands_in_a_frame_that_says_whose_words_it_holds(
    tmp_path: Path, module: Module, reason: Reason
) -> None:
    """ "passed, 5 of 5 points" under a red "failed" looked like the page's own word."""
    words = "passed\n5 of 5 points"
    outcomes = tuple(
        outcome_of(e, Finding(reason, "zero stays", words, "toy_dev.py:12: passed")) for e in module.exercises
    )
    page = written(tmp_path, module, [Grade("ana", outcomes, "graded", 1.0)])["students/ana.html"].decode("utf-8")
    frame = re.compile(
        r'<figure class="said"><figcaption>Said by [^<]*your code</figcaption><pre[^>]*>[^<]*</pre></figure>'
    )
    assert page.count(words) == len(frame.findall(page)) == len(module.exercises)
    assert words not in frame.sub("", page)


def test_nothing_that_a_stranger_wrote_becomes_a_tag_or_an_attribute(tmp_path: Path, module: Module) -> None:
    plain = [grade(module, f"s{n}", slip("x"), remarks=("y",)) for n in range(3)]
    alike = [Pair("s0", "s1", "double", 0.9, "a = 1", "b = 1", (((0, 5), (0, 5)),))]
    calm = pages(written(tmp_path / "calm", module, [*plain, refused(module, "r")], alike))
    wild = pages(written(tmp_path / "wild", module, hostile(module), hostile_pairs()))
    known = {(tag, name) for page in calm.values() for tag, attrs in page.tags for name in (*attrs, "")}
    known |= {("br", ""), ("p", "class"), ("span", "dir")}
    found = {(tag, name) for page in wild.values() for tag, attrs in page.tags for name in (*attrs, "")}
    assert found <= known, f"new on the pages: {found - known}"
    links = {link for page in wild.values() for link in page.links}
    assert all(
        re.match(r"#|students/|similar/|items\.html$|(\.\./)?index\.html#(similar|exercises)$", link) for link in links
    )


def test_what_would_not_be_seen_is_made_visible_everywhere(tmp_path: Path, module: Module) -> None:
    for name, data in written(tmp_path, module, hostile(module), hostile_pairs()).items():
        text = data.decode("utf-8-sig").replace("\r\n", "\n")
        found = BAD.search(text)
        assert not found, f"{name} holds {found[0]!r} in {text[max(found.start() - 40, 0) : found.end() + 40]!r}"


def test_no_cell_of_a_table_is_a_formula(tmp_path: Path, module: Module) -> None:
    files = written(tmp_path, module, hostile(module))
    tables = {name: rows(files[name]) for name in ("grades.csv", "parts.csv", "items.csv")}
    tables |= {name: rows(files[name], "utf-8") for name in ("canvas.csv", "gradescope.csv")}
    for name, table in tables.items():
        assert len({len(row) for row in table}) == 1, f"{name}: a text has broken a row"
        for cell in (cell for row in table for cell in row):
            assert not re.match(r"\s*[=+\-@\uff1d\uff0b\uff0d\uff20]", cell), f"{name}: {cell!r} is a formula"
            assert not re.search(r";\s*[=+\-@]", cell), f"{name}: {cell!r} is one where semicolons part the cells"
    assert len(tables["grades.csv"]) == 1 + len(HOSTILE)


def test_our_own_negative_numbers_stay_numbers(tmp_path: Path, module: Module) -> None:
    (tmp_path / adjustments.FILE).write_text("submission,exercise,points,reason\njane,,-1.50,-late\n", encoding="utf-8")
    jane = grades_of(written(tmp_path, module, [grade(module, "jane")]))["jane"]
    assert (jane["adjustment"], jane["reason"]) == ("-1.5", "'-late")


def test_endless_messages_are_cut_and_say_so(tmp_path: Path, module: Module) -> None:
    endless = "claim:\n" + "\n".join("y" * 100_000 for _ in range(500))
    files = written(tmp_path, module, [grade(module, name, ("failed", "", endless)) for name in ("a", "b")])
    assert max(map(len, files.values())) < 40_000
    assert (
        "more characters" in Page(files["students/a.html"]).text and "more lines" in Page(files["students/a.html"]).text
    )


def test_accents_cannot_pile_up_over_other_lines() -> None:
    piled = escaping.shown("e" + "\N{COMBINING ACUTE ACCENT}" * 50)
    assert piled.count("\N{COMBINING ACUTE ACCENT}") == escaping.STACKED
    assert escaping.shown("Việt Nam, Ångström, हिन्दी") == "Việt Nam, Ångström, हिन्दी"


# The pages as documents


@pytest.fixture
def documents(tmp_path: Path, module: Module) -> dict[str, bytes]:
    (tmp_path / adjustments.FILE).write_text("submission,exercise,points,reason\njane,,1,why\n", encoding="utf-8")
    grades = [grade(module, "jane", slip("x")), grade(module, "joe", slip("x")), refused(module, "r"), machinery("m")]
    alike = [Pair("jane", "joe", "double", 0.9, "a = 1", "b = 1", (((0, 5), (0, 5)),))]
    files = written(tmp_path, module, grades, alike, about=UNSAFE)
    return {name: data for name, data in files.items() if name.endswith(".html")}


def test_a_page_needs_nothing_from_elsewhere_and_runs_nothing(documents: dict[str, bytes]) -> None:
    for name, page in pages(documents).items():
        assert not page.all("script", "link", "img", "iframe", "object", "embed", "form", "base"), name
        for tag, attrs in page.tags:
            assert not any(key.startswith("on") or key in ("style", "src") for key in attrs), (name, tag, attrs)
        assert "http" not in "".join(str(attrs) for attrs in page.all("a", "svg", "rect")), name


def test_the_policy_forbids_everything_but_our_own_style(documents: dict[str, bytes]) -> None:
    for name, data in documents.items():
        policy = next(m["content"] for m in Page(data).all("meta") if m.get("http-equiv") == "Content-Security-Policy")
        (style,) = re.findall(rb"<style>(.*?)</style>", data, re.DOTALL)
        wanted = base64.b64encode(hashlib.sha256(style).digest()).decode()
        assert policy == f"default-src 'none'; style-src 'sha256-{wanted}'; base-uri 'none'; form-action 'none'", name


def test_pages_are_made_for_phones_screen_readers_and_printers(documents: dict[str, bytes]) -> None:
    for name, page in pages(documents).items():
        assert page.all("html") == [{"lang": "en"}], name
        assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in page.all("meta"), name
        assert (
            len(page.all("h1"))
            == len(page.all("main"))
            == len(page.all("title")) - len(page.all("svg", "none")[:0]) - (name == "index.html")
        ), name
        levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch(r"h\d", tag)]
        assert levels[0] == 1 and all(b - a <= 1 for a, b in zip(levels, levels[1:], strict=False)), (name, levels)
        assert all("scope" in attrs for attrs in page.all("th")), name
        for svg in page.all("svg"):
            assert svg.get("aria-hidden") == "true" or (svg.get("role") == "img" and "aria-labelledby" in svg), name
        ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
        assert len(ids) == len(set(ids)), name
        assert {link[1:] for link in page.links if link.startswith("#")} <= set(ids), name
    style = next(iter(documents.values())).decode()
    assert "@media (prefers-color-scheme: dark)" in style and "@media print" in style


def luminance(colour: str) -> float:
    digits = colour if len(colour) == 6 else "".join(digit * 2 for digit in colour)
    parts = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def test_every_text_colour_has_the_contrast_that_wcag_asks_for_in_light_dark_and_print(
    documents: dict[str, bytes],
) -> None:
    style = documents["index.html"].decode()
    schemes = [
        dict(re.findall(r"--([\w-]+): #(\w+);", block)) for block in re.findall(r":root \{(.*?)\}", style, re.DOTALL)
    ]
    assert len(schemes) == 3
    for scheme in schemes:
        colours = schemes[0] | scheme
        pairs = [
            (ink, ground)
            for ink in ("ink", "soft", "link", "passed", "failed", "timeout", "idle")
            for ground in ("page", "tint")
        ]
        for ink, ground in [*pairs, ("on-band", "band"), ("ink", "mark")]:
            light, dark = sorted((luminance(colours[ink]), luminance(colours[ground])), reverse=True)
            assert (light + 0.05) / (dark + 0.05) >= 4.5, f"{ink} #{colours[ink]} on {ground} #{colours[ground]}"


def test_a_class_of_300_weighs_little(tmp_path: Path, module: Module) -> None:
    grades = [grade(module, f"student {n:03}", slip(f"claim {n % 7}")) for n in range(300)]
    files = writing.render(module, Instructions().standings(grades), [], ABOUT)
    assert len(files["index.html"]) < 150_000, "the class page"
    assert max(len(data) for name, data in files.items() if name.startswith("students/")) < 15_000, "a student's page"


@pytest.mark.parametrize(
    "part", [escaping, adjustments, gradebooks, side_by_side, tables], ids=lambda part: part.__name__
)
def test_the_examples_in_the_docstrings_run(part: ModuleType) -> None:
    result = doctest.testmod(part)
    assert result.attempted and not result.failed
