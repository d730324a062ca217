"""The pictures are what their command draws: small, and readable on white and on black."""

from __future__ import annotations

import re
import xml.etree.ElementTree as xml
from pathlib import Path

import pytest

from benchmarks import figures, tables

LARGEST = 100_000  # bytes


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    assert figures.main(["--to", str(folder)]) == 0
    return folder


def test_the_pictures_that_lie_there_are_those_that_the_command_draws(drawn: Path) -> None:
    kept, made = ({path.name for path in folder.glob("*.svg")} for folder in (figures.IMAGES, drawn))
    assert kept == made


def test_a_picture_is_small_has_a_title_and_no_background(drawn: Path) -> None:
    for path in (*drawn.glob("*.svg"), *figures.IMAGES.glob("*.svg")):
        assert path.stat().st_size < LARGEST, f"{path.name} has {path.stat().st_size} bytes"
        text = path.read_text(encoding="utf-8")
        tags = {element.tag.partition("}")[2] for element in xml.fromstring(text).iter()}
        assert "title" in tags, f"{path.name} has no title, which is read to who does not see it"
        assert not re.search(r"#(fff|000)(\1)?\b|#ffffff|#000000", text), (
            f"{path.name} has ink that is lost on its like"
        )


def test_the_numbers_of_the_drawing_are_those_of_the_package(drawn: Path) -> None:
    name = "way_of_a_number.svg"
    assert (figures.IMAGES / name).read_text(encoding="utf-8") == (drawn / name).read_text(encoding="utf-8")
    assert "[-128, -43, -1, 127]" in (drawn / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("page", tables.PAGES, ids=lambda path: path.name)
def test_the_tables_of_a_page_are_those_of_the_files_that_measurements_wrote(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert tables.TABLE.search(text)
    assert tables.filled(text) == text, "run `python -m benchmarks.figures`"
