"""What is not graded may be of any size: outputs, attachments, widgets, texts are left out before anything counts."""

from __future__ import annotations

import json
import random
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tito.grading.intake import pruning, reading
from tito.grading.intake.unpacking import Refused

from ..conftest import HandIn
from .handed import answer, as_page, solved

NUMBERS = random.Random(17)
LARGE = {
    "12 MB of numbers": [{"output_type": "stream", "text": [f"{NUMBERS.random()}\n" for _ in range(600_000)]}],
    "40 MB of one word": [{"output_type": "stream", "text": ["spam "] * 8_000_000}],
    "a plot of 1.2 million points": [{"data": {"plot": {"x": [NUMBERS.random() for _ in range(1_200_000)]}}}],
    "a plot of 400 000 pairs": [{"data": {"plot": [[1, "a"]] * 400_000}}],
    "a picture of 40 MB": [{"data": {"image/png": "iVBORw0KGgo" * 4_000_000}}],
    "half a surrogate": [{"output_type": "stream", "text": ["\ud800"]}],
    "half an image's bytes": [{"data": {"image/png": ']}\\"[{'}}],
}


def page() -> dict[str, Any]:
    whole: dict[str, Any] = json.loads(as_page(solved()))
    return whole


@pytest.mark.parametrize("what", LARGE)
@pytest.mark.parametrize("packed", [False, True], ids=["plain", "in a zip"])
def test_outputs_of_any_size_cost_nothing(what: str, packed: bool, tmp_path: Path, hand_in: HandIn) -> None:
    whole = page()
    whole["cells"].insert(0, {"cell_type": "code", "metadata": {}, "source": "print()", "outputs": LARGE[what]})
    data = json.dumps(whole, indent=1).encode()
    if packed:
        with zipfile.ZipFile(tmp_path / "hw.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("toy_dev.ipynb", data)
        data = (tmp_path / "hw.zip").read_bytes()
    (found,) = hand_in({"ada/hw.zip" if packed else "ada/toy_dev.ipynb": data})
    assert answer(found) == "return 2 * x" and found.remarks == ()


@pytest.mark.parametrize(
    "spoil",
    [
        lambda whole: whole["metadata"].update(widgets={str(n): {"state": [{}] * 9} for n in range(90_000)}),
        lambda whole: whole["cells"][0].update(attachments={"a.png": {"image/png": "A" * 40_000_000}}),
        lambda whole: whole["cells"].insert(0, {"cell_type": "markdown", "metadata": {}, "source": "A" * 40_000_000}),
        lambda whole: whole["cells"][-1]["metadata"].update(history=[[n] for n in range(600_000)]),
        lambda whole: whole.update(signature=["x"] * 1_200_000),
    ],
    ids=["widgets", "an attachment", "a picture in a text", "metadata of a cell", "an unknown key"],
)
def test_what_else_a_notebook_carries_costs_nothing(spoil: Callable[[dict[str, Any]], None], hand_in: HandIn) -> None:
    whole = page()
    spoil(whole)
    (found,) = hand_in({"ada/toy_dev.ipynb": json.dumps(whole)})
    assert answer(found) == "return 2 * x" and found.remarks == ()


def test_pictures_in_the_texts_of_a_py_cost_nothing(hand_in: HandIn) -> None:
    picture = f"# %% [markdown]\n# ![](data:image/png;base64,{'A' * 5_000_000})\n\n"
    (found,) = hand_in({"ada/toy_dev.py": solved().replace("# %% [markdown]\n", picture + "# %% [markdown]\n", 1)})
    assert answer(found) == "return 2 * x" and found.remarks == ()


def test_the_code_is_what_the_whole_notebook_holds(hand_in: HandIn) -> None:
    """In any order of keys, with keys that only look like those that are left out, and with nbgrader's names."""
    whole = page()
    for cell in whole["cells"]:
        cell["metadata"] = {"outputs": [1], "nbgrader": {"grade_id": "double-5", "outputs": {"a": "}"}}, "source": "no"}
    whole["cells"][-1]["source"] = 'x = {"outputs": ["]}"], "metadata": {}}  # \\" \u00e9 "source":'
    expected = [cell["source"] for cell in whole["cells"] if cell["cell_type"] == "code"]
    expected = ["".join(source) for source in expected]
    for reverse in (False, True):
        mixed = whole | {"cells": [dict(sorted(cell.items(), reverse=reverse)) for cell in whole["cells"]]}
        for text in (json.dumps(mixed), json.dumps(mixed, indent=2, ensure_ascii=False)):
            read = reading.page(bytearray(text.encode()), "a.ipynb")
            assert [cell.source for cell in read.cells] == expected and read.remarks == ()
            assert set(read.grade_ids.values()) == {"double-5"}


def test_a_message_still_names_the_line_on_which_json_breaks_off() -> None:
    whole = page()
    whole["cells"].insert(0, {"cell_type": "code", "metadata": {}, "source": "", "outputs": [["a"], ["b"], ["c"]]})
    text = json.dumps(whole, indent=1)
    before, source, after = text.rpartition('"source": [\n')  # of the last cell, which is code
    broken = f"{before}{source} !\n{after}"
    line = broken[: broken.index("!")].count("\n") + 1
    with pytest.raises(Refused, match=f"breaks off at line {line} "):
        reading.page(bytearray(broken.encode()), "a.ipynb")


@pytest.mark.parametrize(
    "text", ["", "{", "{}", "[]", '{"cells"', '{"cells": [', '{"cells": [{"a" 1}]}', "{1: 2}", '{"']
)
def test_what_is_no_notebook_is_left_to_the_parser(text: str) -> None:
    assert pruning.pruned(bytearray(text.encode()), "a.ipynb") == text.encode()


def test_millions_of_brackets_are_refused_in_a_bounded_number_of_steps() -> None:
    text = b'{"cells": [{"outputs": [' + b"[]," * 2_000_000 + b"[]]}]}"
    with pytest.raises(Refused, match="more than 5000000 values"):
        pruning.pruned(bytearray(b'{"cells": [{"outputs": [' + b"[[]]," * 6_000_000 + b"[]]}]}"), "a.ipynb")
    assert b"[]" not in pruning.pruned(bytearray(text), "a.ipynb")[:30]
