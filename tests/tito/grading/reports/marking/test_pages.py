"""The questions' pages: nobody's name in any byte of them, and nothing that a student wrote is more than text."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from tito.course.module import Module
from tito.grading.reports.marking import pages
from tito.grading.reports.marking.marks import Marking, blind

from ..reported import HOSTILE, Page, rows
from .asked import ANSWERS, ASKED, asking, marking, row


def made(module: Module, found: Marking, seed: int = 7) -> dict[str, bytes]:
    return pages.render(asking(module), found, ASKED, seed)


def renamed(answers: Mapping[str, Mapping[str, str]], names: Mapping[str, str]) -> dict[str, Mapping[str, str]]:
    return {names[name]: answers[name] for name in sorted(answers, key=lambda name: names[name])}


def test_other_names_make_the_same_bytes(module: Module, tmp_path: Path) -> None:
    names = {"jane": "zoe", "joe": "abe", "kim": "\N{CJK UNIFIED IDEOGRAPH-738B}", "lee": "<b>"}
    scores = row("ada", "overflow", "Never.", "bound") + row("bo", "overflow", "Never.", "type")
    one = made(module, marking(module, tmp_path / "one", scores))
    other = made(module, marking(module, tmp_path / "other", scores, renamed(ANSWERS, names)))
    assert one == other, "a page that knows a name, or an order by names, would differ"
    assert sorted(one) == [
        "questions/answers.csv",
        "questions/index.html",
        "questions/overflow.html",
        "questions/state.html",
    ]
    for name, data in one.items():
        assert not re.search(rb"jane|joe|kim|lee", data), name


def test_the_order_is_the_seed_s_and_nothing_else_s(module: Module, tmp_path: Path) -> None:
    answers = {f"student{n:02}": {"overflow": f"Answer {n:02}."} for n in range(30)}

    def order(seed: int) -> list[str]:
        text = made(module, marking(module, tmp_path, answers=answers), seed)["questions/overflow.html"].decode()
        return re.findall(r"Answer \d\d\.", text)

    assert order(1) == order(1) and len(order(1)) == 30
    assert order(1) != order(2) and order(1) != sorted(order(1)) and order(1) != sorted(order(1), reverse=True)


def test_a_page_shows_the_question_the_rubric_and_each_answer_in_a_frame(module: Module, tmp_path: Path) -> None:
    page = Page(made(module, marking(module, tmp_path))["questions/overflow.html"])
    for text in ("Too large", ASKED["overflow"], "the bound", "+1.5", "-1", "For which type?", "Not answered: 1."):
        assert text in page.text, text
    assert page.text.count("A student’s words Above 63.") == 1 and "handed in by 2, word for word" in page.text
    ids = [attrs["data-answer"] for attrs in page.all("article")]
    assert sorted(map(str, ids)) == sorted(blind("overflow", text) for text in ("Above 63.", "Never."))


def test_what_a_student_wrote_is_text_whatever_it_is(module: Module, tmp_path: Path) -> None:
    harmless = made(module, marking(module, tmp_path / "harmless", answers={"x": {"overflow": "Never."}}))
    plain = Page(harmless["questions/overflow.html"]).tags
    hostile = [*HOSTILE, "</pre></article><script>alert(1)</script>", "-->", "</script>", "]]>", "{{ 7 * 7 }}"]
    for number, text in enumerate(text for text in hostile if text.strip()):
        answers = {"x": {"overflow": text}}
        files = made(module, marking(module, tmp_path / str(number), answers=answers))
        data = files["questions/overflow.html"]
        page = Page(data)
        same = [
            (tag, {key: value for key, value in attrs.items() if key not in ("id", "data-answer", "aria-labelledby")})
            for tag, attrs in page.tags
        ]
        assert len(page.tags) == len(plain) and [tag for tag, _ in same] == [tag for tag, _ in plain], text
        assert not re.search(rb"[\x00-\x08\x0b-\x1f\x7f]", data), text
        assert not re.search("[\u200b\u202a-\u202e\u2066-\u2069]", data.decode()), text
        (_, cells) = rows(files["questions/answers.csv"])
        assert not cells[5].startswith(("=", "+", "-", "@", "\t", "\r")), text


def test_a_page_may_run_its_own_script_and_reach_nothing(module: Module, tmp_path: Path) -> None:
    found = marking(module, tmp_path)
    page = Page(made(module, found)["questions/overflow.html"])
    policy = next(str(attrs["content"]) for attrs in page.all("meta") if "http-equiv" in attrs)
    assert policy.startswith("default-src 'none'; ") and "connect-src" not in policy and "unsafe" not in policy
    assert re.search(r"script-src 'sha256-[\w+/=]+'; ", policy)
    assert not [attrs for attrs in page.all("img", "link", "iframe", "form", "object")]
    assert not any(key.startswith("on") for _, attrs in page.tags for key in attrs)
    served = Page(pages.question(asking(module), found, "overflow", "?", [], "ada"))
    policy = next(str(attrs["content"]) for attrs in served.all("meta") if "http-equiv" in attrs)
    assert "connect-src 'self'; " in policy


def test_the_index_says_how_far_it_is_and_where_graders_differ(module: Module, tmp_path: Path) -> None:
    scores = row("ada", "overflow", "Never.", "bound") + row("bo", "overflow", "Never.", "type")
    scores += row("ada", "overflow", "Above 63.", "bound") + row("bo", "overflow", "Above 63.", "bound")
    page = Page(made(module, marking(module, tmp_path, scores))["questions/index.html"])
    assert "Too large 3 2 of 3 1" in page.text
    assert "ada and bo: the same points for 1 of 2 answers, Cohen’s kappa 0.00" in page.text
    assert "ada 2 (bound), bo 1.5 (type)" in page.text
    assert f"overflow.html#{blind('overflow', 'Never.')}" in page.links


@pytest.mark.parametrize("name", ["questions/overflow.html", "questions/index.html"])
def test_a_grader_s_words_are_text_as_well(module: Module, tmp_path: Path, name: str) -> None:
    bad = "<img src=x onerror=alert(1)>"
    rubric = f"[overflow]\npoints = 1\nitems.a = {{ points = 1, text = '{bad}' }}\ncomments = ['{bad}']\n"
    scores = row(bad, "overflow", "Never.", "a") + row("bo", "overflow", "Never.", "none")
    page = Page(made(module, marking(module, tmp_path, scores, text=rubric))[name])
    assert bad in page.text and not page.all("img")
