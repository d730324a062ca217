"""Every block of code in README.md and docs is run by a test, or is marked with the reason why not.

A mark is a comment above the block: `<!-- run by: FILE -->`, where that test reads the page; `<!-- output of: COMMAND
-->`; or `<!-- not run: REASON -->`. The commands of this project, in blocks and in prose, must be known, and their
options too, whether they are run or not.
"""

from __future__ import annotations

import importlib.util
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import typer.main

from tito.cli import app

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"(?:^<!-- ([a-z ]+): (.*?) -->\n)?^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"`((?:tito|python -m|nox)\s[^`]+)`")
READ_AS_A_WHOLE = {"docs/library.md": "tests/library/test_page.py"}  # which runs its code and compares its output
OURS = re.compile(r"(?:^|&& )((?:tito|python3? -m|nox) [^\n]*?)(?= && |\n|$)", re.MULTILINE)
COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]
HANDS_ON = {name for name, each in COMMANDS.items() if each.context_settings.get("ignore_unknown_options")}
SESSIONS = set(re.findall(r'^def (\w+)\(session|name="(\w+)"', (ROOT / "noxfile.py").read_text("utf-8"), re.MULTILINE))


@dataclass(frozen=True)
class Block:
    page: Path
    kind: str  # of its mark; "" without one
    mark: str
    language: str
    text: str

    @property
    def shown(self) -> str:
        return f"{self.page.relative_to(ROOT).as_posix()}, the block that begins {self.text[:50]!r}"


def blocks(page: Path) -> list[Block]:
    return [Block(page, *found) for found in BLOCK.findall(page.read_text(encoding="utf-8"))]


def commands(text: str) -> Iterator[list[str]]:
    """The words of each command of this project in a block of shell, without comments."""
    for command in OURS.findall(re.sub(r"\\\n\s*", "", text)):
        yield shlex.split(command, comments=True)


def unknown(words: list[str]) -> str:
    """What of a command is not known; empty if nothing."""
    program, *given = words
    options = [word.partition("=")[0] for word in given if re.match(r"--?[a-z]", word)]
    if program == "tito":
        return unknown_to_tito(given, options)
    if program in ("python", "python3") and given[:1] == ["-m"]:
        module = given[1]
        if module in ("venv", "pip", "pytest", "build"):
            return ""
        if not importlib.util.find_spec(module):
            return f"there is no module {module}"
        found = importlib.util.find_spec(module if module.count(".") else f"{module}.__main__")
        source = Path(str(found and found.origin)).read_text(encoding="utf-8")
        return "".join(f"{module} has no {option}" for option in options[1:] if f'"{option}"' not in source)
    if program == "nox":
        named = {name for pair in SESSIONS for name in pair}
        wrong = [word for word in given if not word.startswith("-") and re.sub(r"-3\.\d+$", "", word) not in named]
        return f"noxfile.py has no session {wrong[0]}" if wrong else ""
    return ""


def unknown_to_tito(given: list[str], options: list[str]) -> str:
    if not given or given[0].startswith("-"):
        return ""
    if given[0] not in COMMANDS:
        return f"tito has no command {given[0]}"
    if given[0] in HANDS_ON:
        return ""
    known = {name for parameter in COMMANDS[given[0]].params for name in (*parameter.opts, *parameter.secondary_opts)}
    return "".join(f"tito {given[0]} has no {option}" for option in options if option not in known | {"--help", "-h"})


def complaint(block: Block) -> str:
    """What is wrong with a block: it is neither covered nor marked, or names what is not there; empty if nothing."""
    page = block.page.relative_to(ROOT).as_posix()
    if page in READ_AS_A_WHOLE:
        return ""
    if block.kind == "run by":
        reads = (ROOT / block.mark).is_file() and block.page.name in (ROOT / block.mark).read_text(encoding="utf-8")
        said = "" if reads else f"{block.mark} is no test that reads {page}"
    elif block.kind == "not run":
        said = "" if len(block.mark.split()) > 2 else "why is it not run? Say it in a few words"
    elif block.kind == "output of":
        said = "; ".join(filter(None, map(unknown, commands(block.mark))))
    else:
        said = "it has no mark: name the test that runs it, or say why none does"
    shell = block.kind in ("run by", "not run") and not block.language
    return said or ("; ".join(filter(None, map(unknown, commands(block.text)))) if shell else "")


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_every_block_is_run_or_says_why_not(page: Path) -> None:
    wrong = [f"{block.shown}: {said}" for block in blocks(page) if (said := complaint(block))]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CONTRIBUTING.md"], ids=lambda path: path.name)
def test_the_commands_in_the_prose_are_known(page: Path) -> None:
    text = BLOCK.sub("", page.read_text(encoding="utf-8"))
    spans = (" ".join(span.split()) for span in SPAN.findall(text))
    wrong = [f"`{span}`: {said}" for span in spans if "..." not in span and (said := unknown(span.split()))]
    assert not wrong, "\n".join(wrong)


def test_what_reads_a_page_as_a_whole_does() -> None:
    for page, test in READ_AS_A_WHOLE.items():
        assert Path(page).name in (ROOT / test).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("mark", "text"),
    [
        ("", "print()"),
        ("<!-- not run: no -->", "ls"),
        ("<!-- run by: tests/nobody.py -->", "ls"),
        ("<!-- run by: tests/conftest.py -->", "ls"),
        ("<!-- output of: tito fly -->", "done"),
        ("<!-- not run: it needs a class -->", "cd x && tito grade --wings x"),
        ("<!-- not run: it takes long -->", "python -m benchmarks.figures --wings"),
    ],
)
def test_what_is_neither_covered_nor_marked_is_found(mark: str, text: str) -> None:
    (found,) = BLOCK.findall(f"{mark}\n```\n{text}\n```\n".lstrip())
    assert complaint(Block(ROOT / "README.md", *found))


def test_the_python_of_the_readme_runs(capsys: pytest.CaptureFixture[str]) -> None:
    (code,) = (block.text for block in blocks(ROOT / "README.md") if block.language == "python")
    exec(code, {})
    said = capsys.readouterr().out.splitlines()
    assert [re.sub(r"\d+(\.\d+)?", "N", line) for line in said] == ["N times smaller", "signal over error: N dB"]
