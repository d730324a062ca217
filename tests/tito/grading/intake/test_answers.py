"""Answers in words: found in whatever a notebook becomes on its way, and nothing that was given is taken for one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tito.course.edition import Edition
from tito.course.module import load_module
from tito.course.questions import LONGEST_ANSWER
from tito.errors import TitoError
from tito.grading.conditions import conditions
from tito.grading.intake import collecting, pruning
from tito.grading.options import Options
from tito.grading.submission import Submission

from ...toy_course import NOTEBOOK, TABLE, Course, add_questions
from .handed import as_page

HERE = "*Your answer here.*"
FIRST = "# <!-- question: overflow -->\n# 1. When does twice a number not fit?\n#\n# *Your answer here.*"
SECOND = "# <!-- question: state -->\n# 2. What does a counter keep?\n#\n# *Your answer here.*"
BOTH = {"overflow": "Above 63.", "state": "The total."}


@pytest.fixture
def asking(course: Course) -> Edition:
    add_questions(course)
    return Edition(course.project, load_module(course.project, "01_toy"))


def given(edition: Edition) -> str:
    (text,) = edition.texts.values()
    assert FIRST in text and SECOND in text
    return text


def answered(edition: Edition) -> str:
    return given(edition).replace(HERE, BOTH["overflow"], 1).replace(HERE, BOTH["state"], 1)


def read(edition: Edition, folder: Path, files: dict[str, str]) -> Submission:
    for name, text in files.items():
        path = folder / "handed in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    (found,) = collecting.collect(edition, folder / "handed in")
    assert not found.refused, found.refused
    return found


@pytest.mark.parametrize("name", ["toy_dev.py", "toy_dev.ipynb"])
def test_what_was_given_is_no_answer_and_what_was_written_is_all_of_it(
    asking: Edition, tmp_path: Path, name: str
) -> None:
    for folder, text, wanted in (("untouched", given(asking), {}), ("answered", answered(asking), BOTH)):
        found = read(asking, tmp_path / folder, {f"ada/{name}": text if name.endswith("py") else as_page(text)})
        assert found.answers == wanted and not found.remarks


CARELESS = {
    "behind the placeholder": (HERE, f"{HERE} Above 63.", BOTH | {"overflow": " Above 63."}),
    "above the placeholder": (f"# {HERE}", f"# Above 63.\n#\n# {HERE}", BOTH),
    "over the question": (FIRST, "# Above 63.", BOTH),
    "over the line alone": ("# <!-- question: overflow -->\n", "", BOTH),
    "the line misspelt": ("question: overflow", "question: overfull", BOTH),
    "the line in another form": ("<!-- question: overflow -->", "<!--question:overflow-->", BOTH),
    "in a cell below": (
        FIRST,
        f"{FIRST}\n\n# %% [markdown]\n# Above 63.\n\n# %% [markdown]\n# Mostly.",
        {"overflow": "Above 63.\n\nMostly.", "state": "The total."},
    ),
    "behind code that was tried": (FIRST, f"{FIRST}\n\n# %%\n2 * 64\n\n# %% [markdown]\n# Above 63.", BOTH),
    "in a cell of code": (f"# %% [markdown]\n{FIRST}", "# %%\n# <!-- question: overflow -->\nAbove 63.", BOTH),
    "without comment signs": (f"# {HERE}", "Above 63.", BOTH),
    "in one cell with the next": (
        f"{FIRST}\n\n# %% [markdown]\n",
        FIRST.replace(HERE, "Above 63.") + "\n#\n",
        BOTH,
    ),
    "between quotes": (
        f"# %% [markdown]\n{FIRST}",
        '# %% [markdown]\n"""\n<!-- question: overflow -->\nAbove 63.\n"""',
        BOTH,
    ),
}


@pytest.mark.parametrize("way", CARELESS)
def test_an_answer_is_found_however_carelessly_it_was_written(asking: Edition, tmp_path: Path, way: str) -> None:
    old, new, wanted = CARELESS[way]
    text = given(asking).replace(SECOND, SECOND.replace(HERE, "The total."))
    assert old in text
    text = text.replace(old, new, 1)
    if way.startswith(("over the line", "the line")):
        text = text.replace(HERE, "Above 63.", 1)
    found = read(asking, tmp_path, {"ada/toy_dev.py": text})
    own = {question: answer.removeprefix("# ") for question, answer in found.answers.items()}
    assert {question: answer.strip() for question, answer in own.items()} == {
        question: answer.strip() for question, answer in wanted.items()
    }
    lost = [remark for remark in found.remarks if "lost its line" in remark]
    assert len(lost) == (way in ("over the question", "over the line alone", "the line misspelt"))


def test_cells_that_nbgrader_named_are_known_without_their_lines(asking: Edition, tmp_path: Path) -> None:
    page = json.loads(as_page(answered(asking)))
    for cell in page["cells"]:
        for question, answer in BOTH.items():
            if answer in "".join(cell["source"]):
                cell |= {"source": answer, "metadata": {"nbgrader": {"grade_id": f"{question}-9"}}}
    page["cells"].reverse()
    found = read(asking, tmp_path, {"ada/toy_dev.ipynb": json.dumps(page)})
    assert found.answers == BOTH


def test_an_answer_in_another_file_of_the_notebook_counts_where_the_graded_one_has_none(
    asking: Edition, tmp_path: Path
) -> None:
    graded = given(asking).replace('raise NotImplementedError("exercise double: your code is not written yet")', "pass")
    found = read(asking, tmp_path, {"ada/toy_dev.py": graded, "ada/copy of toy_dev.py": answered(asking)})
    assert found.answers == BOTH and "pass" in found.cells["double"][0]
    assert "overflow: the answer is from copy of toy_dev.py" in found.remarks


def test_words_of_what_is_not_asked_are_not_taken(asking: Edition, tmp_path: Path) -> None:
    notes = "# %% [markdown]\n# My notes: <b>private</b>\n\n"
    text = given(asking).replace("# %% [markdown]\n# ## Exercise 1", f"{notes}# %% [markdown]\n# ## Exercise 1")
    assert notes in text
    assert read(asking, tmp_path, {"ada/toy_dev.py": text}).answers == {}


@pytest.mark.parametrize("blank", [" ", "\N{ZERO WIDTH SPACE}", "\N{NO-BREAK SPACE}\N{RIGHT-TO-LEFT OVERRIDE}"])
def test_what_cannot_be_seen_is_no_answer(asking: Edition, tmp_path: Path, blank: str) -> None:
    assert read(asking, tmp_path, {"ada/toy_dev.py": given(asking).replace(HERE, blank)}).answers == {}


def test_an_endless_answer_is_cut_and_says_so(asking: Edition, tmp_path: Path) -> None:
    text = given(asking).replace(HERE, "word " * 5_000, 1)
    found = read(asking, tmp_path, {"ada/toy_dev.py": text})
    assert len(found.answers["overflow"]) == LONGEST_ANSWER
    assert any("24999 characters, of which the first 10000 count" in remark for remark in found.remarks)


def test_pictures_in_text_cells_cost_no_answer(asking: Edition, tmp_path: Path) -> None:
    picture = f"![plot](data:image/png;base64,{'A' * 2 * pruning.LONGEST_TEXT})"
    page = json.loads(as_page(answered(asking)))
    page["cells"][1:1] = [{"cell_type": "markdown", "metadata": {}, "source": [picture]}] * 20
    found = read(asking, tmp_path, {"ada/toy_dev.ipynb": json.dumps(page)})
    assert found.answers == BOTH and not found.remarks


def test_what_is_asked_is_told_in_one_plain_line(asking: Edition) -> None:
    assert collecting.questions(asking) == {
        "overflow": "When does twice a number not fit?",
        "state": "What does a counter keep?",
    }


def test_words_are_no_part_of_what_is_graded_once(asking: Edition, tmp_path: Path) -> None:
    one, other = (
        read(asking, tmp_path / name, {"ada/toy_dev.py": text})
        for name, text in (("one", given(asking)), ("other", answered(asking)))
    )
    keys = conditions(asking, Options()).keys
    assert one.answers != other.answers and keys(one) == keys(other)
    assert Submission.from_json(json.loads(json.dumps(other.as_json()))) == other


def test_a_question_that_is_not_asked_or_not_listed_is_told_before_anybody_is_graded(course: Course) -> None:
    add_questions(course)
    course.change(TABLE, 'id = "state"', 'id = "condition"')
    with pytest.raises(TitoError, match=r"no text cell has the line `<!-- question: condition -->`"):
        Edition(course.project, load_module(course.project, "01_toy"))
    course.change(NOTEBOOK, "question: state", "question: condition")
    course.change(TABLE, '[[notebook.question]]\nid = "overflow"\ntitle = "Too large"\n', "")
    with pytest.raises(TitoError, match=r"has a cell with `<!-- question: overflow -->`: list it in module.toml"):
        Edition(course.project, load_module(course.project, "01_toy"))
