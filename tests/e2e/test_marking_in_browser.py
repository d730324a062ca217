"""Answers in words, from the release to the points: written by students, marked in Chromium by keyboard, and merged.

Needs chromium, chromedriver and selenium, as `tests/e2e/chromium.py` says. Pictures of the pages, as wide as a phone
and as a desk, stay in pytest's temporary folder.
"""

from __future__ import annotations

import csv
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tito.grading.reports.marking.marks import blind

from ..tito.toy_course import NOTEBOOK, Course, add_questions, copy_toy
from .chromium import browser

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

pytestmark = pytest.mark.browser
HERE = "*Your answer here.*"
ANSWERS = {  # overflow, state
    "ada": ("Above 63.", "The total."),
    "bob": ("Above 63.", HERE),
    "cem": ("Never <b>ever</b>.", "<script>document.title = 'owned'</script>"),
    "dora": (HERE, "Nothing."),
}
RUBRIC = """
[overflow]
points = 3
items.bound = { points = 2, text = "the bound" }
items.type = { points = 1, text = "the type" }
comments = ["For which type?"]
[state]
points = 1
"""


class Round:
    """The toy course, its class, and what the instructor does."""

    def __init__(self, course: Course, folder: Path) -> None:
        self.course, self.out = course, folder / "grades"
        self.submissions = folder / "submissions"

    def hand_in(self) -> None:
        """Every student writes, and hands in what `tito submit` makes."""
        given = self.submissions.parent / "given"
        assert self.course.tito("release", "01", "--to", str(given)).status == 0
        edition = Course(given, self.course._capsys)
        as_given = edition.read(NOTEBOOK)
        self.submissions.mkdir()
        for name, texts in ANSWERS.items():
            edition.write(NOTEBOOK, as_given)
            for text in texts:
                edition.change(NOTEBOOK, HERE, text.replace(HERE, "-later-"))
            edition.write(NOTEBOOK, edition.read(NOTEBOOK).replace("-later-", HERE))
            assert edition.tito("submit", "--untested", "--name", name).status == 0
            (given / "01_toy_submission.zip").rename(self.submissions / f"{name}.zip")

    def grade(self) -> dict[str, dict[str, str]]:
        self.out.mkdir(exist_ok=True)
        (self.out / "rubric.toml").write_text(RUBRIC, encoding="utf-8")
        said = self.course.tito("grade", "01", str(self.submissions), "--out", str(self.out))
        assert said.status == 0, said.err
        with (self.out / "grades.csv").open(encoding="utf-8-sig", newline="") as stream:
            return {row["submission"]: row for row in csv.DictReader(stream)}

    def page(self, question: str) -> str:
        return (self.out / "questions" / f"{question}.html").as_uri()


@contextmanager
def served(graded: Round, *options: str) -> Iterator[str]:
    """`tito mark` in a process of its own, until Ctrl-C."""
    command = [sys.executable, "-m", "tito", "--project", str(graded.course.root), "mark", str(graded.out), *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            match = re.search(
                r"http://127\.0\.0\.1:\d+/[\w-]{32}/overflow\.html", (process.stdout or sys.stdin).readline()
            )
            assert match, process.communicate()
            yield match[0]
        finally:
            process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=30)
    assert re.fullmatch(r"tito: stopped by Ctrl-C: (what was marked is in .*\.csv|nothing was marked)\n", said), said


@pytest.fixture
def graded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Round:
    course = Course(copy_toy(tmp_path), capsys)
    add_questions(course)
    made = Round(course, tmp_path)
    made.hand_in()
    assert {row["points"] for row in made.grade().values()} == {"0"}
    return made


@pytest.fixture(scope="module")
def chromium() -> Iterator[Chrome]:
    with browser() as driver:
        yield driver


def press(driver: Chrome, *keys: str) -> None:
    from selenium.webdriver import ActionChains

    for key in keys:
        ActionChains(driver).send_keys(key).perform()


def wait(what: str, ready: Callable[[], object], patience: float = 20.0) -> None:
    until = time.monotonic() + patience
    while not ready():
        assert time.monotonic() < until, f"{what}: not after {patience:g} seconds"
        time.sleep(0.1)


def state(driver: Chrome) -> str:
    return str(driver.execute_script("return document.getElementById('state').textContent"))


def at(driver: Chrome, answer: str) -> None:
    """Go to an answer by keyboard."""
    place = "return document.querySelector('[aria-current]').id"
    press(driver, *"kkkk")
    for _ in range(4):
        if driver.execute_script(place) == answer:
            return
        press(driver, "j")
    pytest.fail(f"{answer} was not reached by j")


def shot(driver: Chrome, path: Path) -> None:
    for width in (390, 1280):
        size = {"width": width, "height": 1600, "deviceScaleFactor": 1, "mobile": width < 500}
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        wide = driver.execute_script("return document.documentElement.scrollWidth")
        assert wide <= width, f"{path.name} is {wide} pixels wide, on a screen of {width}"
        driver.save_screenshot(str(path.with_suffix(f".{width}.png")))


def download(driver: Chrome, folder: Path, name: str) -> None:
    folder.mkdir(exist_ok=True)
    driver.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(folder)})
    press(driver, "s")
    wait(f"download of {name}", (folder / name).is_file)


def test_answers_are_marked_from_a_file_by_keyboard_and_come_back_as_points(
    graded: Round, chromium: Chrome, tmp_path: Path
) -> None:
    above, never = blind("overflow", "Above 63."), blind("overflow", "Never <b>ever</b>.")
    chromium.get(graded.page("overflow"))
    assert "0 of" not in state(chromium) or "kept in this browser" in state(chromium)
    source = chromium.page_source
    assert not re.search("ada|bob|cem|dora", source), "a name is on the page"
    at(chromium, above)
    press(chromium, "1", "2", "2")
    at(chromium, never)
    press(chromium, "1", "0", "c", *"Why 1?", "\ue00c", "1", "0")
    chromium.refresh()
    assert state(chromium).startswith("2 of 2 marked"), "what was marked is there after a reload"
    shot(chromium, tmp_path / "question.png")
    download(chromium, graded.out / "scores", "overflow-agreed.csv")
    rows = graded.grade()
    assert {name: (row["points"], row["max_points"]) for name, row in rows.items()} == {
        "ada": ("2", "9"),
        "bob": ("2", "9"),
        "cem": ("0", "9"),
        "dora": ("0", "9"),
    }
    assert rows["ada"]["reason"] == "overflow: Too large: 2 of 3: the bound"
    assert rows["cem"]["reason"] == "overflow: Too large: 0 of 3"
    chromium.get((graded.out / "students" / "cem.html").as_uri())
    text = chromium.execute_script("return document.body.innerText")
    assert "Why 1?" in text and "What you wrote" in text and "Never <b>ever</b>." in text
    assert "<script>document.title = 'owned'</script>" in text and chromium.title != "owned"
    shot(chromium, tmp_path / "student.png")


def test_two_graders_mark_at_one_server_and_what_they_agree_on_counts(
    graded: Round, chromium: Chrome, tmp_path: Path
) -> None:
    above, never = blind("overflow", "Above 63."), blind("overflow", "Never <b>ever</b>.")
    for grader, given in (("ines", {above: "1", never: "0"}), ("juri", {above: "12", never: "0"})):
        with served(graded, "--grader", grader) as address:
            chromium.get(address)
            wait("the page", lambda: "saved at once" in state(chromium))
            for answer, keys in given.items():
                at(chromium, answer)
                press(chromium, *keys)
                wait("the score", lambda: state(chromium).endswith("; saved"))
        assert (graded.out / "scores" / f"by_{grader}.csv").is_file()
    assert {row["points"] for row in graded.grade().values()} == {"0"}
    index = (graded.out / "questions" / "index.html").as_uri()
    chromium.get(index)
    assert "the same points for 1 of 2 answers, Cohen’s kappa 0.33" in chromium.page_source
    shot(chromium, tmp_path / "index.png")
    with served(graded) as address:
        chromium.get(f"{address}#{above}")
        wait("the page", lambda: "saved at once" in state(chromium))
        press(chromium, "1", "!")
        wait("the score", lambda: state(chromium).endswith("; saved"))
        press(chromium, "1", "2")
        table = graded.out / "scores" / "agreed.csv"
        wait("the score", lambda: f",{above},type,For which type?" in table.read_text(encoding="utf-8-sig"))
    assert {name: row["points"] for name, row in graded.grade().items()} == {
        "ada": "1",
        "bob": "1",
        "cem": "0",
        "dora": "0",
    }
