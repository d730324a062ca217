"""A row of docs/platforms.md: what of the tests held in the surroundings in which this runs, as it saw them itself.

    python -m tests.platforms "Python 3.13"             # writes the row of that name
    python -m tests.platforms --not "macOS" "no Mac"    # says why it was not run
    python -m tests.platforms "arm64" tests/core/test_tensor.py --table TABLE.md

Without files it runs PART: an exercise's tests, kernels, the doctor, files, the sandbox.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import time
from contextlib import suppress
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TABLE = ROOT / "docs" / "platforms.md"
HEAD = "| surroundings | seen there | what ran | what came |"
LIBRARIES = ("numpy", "numba", "pytest", "typer")
PART = (
    "tests/core/test_tensor.py",
    "tests/17_quantization/test_quantize.py",
    "tests/acceleration/test_int8_matmul.py",
    "tests/acceleration/test_features.py",
    "tests/tito/test_doctor.py",
    "tests/tito/test_files.py",
    "tests/tito/grading/sandbox/test_sandbox.py",
)


class Counts:
    """A pytest plugin: how many tests passed, were left out, and which failed."""

    def __init__(self) -> None:
        self.passed, self.left_out, self.failed = 0, 0, list[str]()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.failed.append(report.nodeid)
        elif report.when == "call" or report.skipped:
            self.passed += report.passed
            self.left_out += report.skipped

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.failed.append(report.nodeid)

    def pytest_deselected(self, items: list[pytest.Item]) -> None:
        self.left_out += len(items)

    def __str__(self) -> str:
        left_out = f", {self.left_out} left out" if self.left_out else ""
        failed = f", {len(self.failed)} failed: {', '.join(map(_code, self.failed))}" if self.failed else ""
        return f"{self.passed} tests passed{left_out}{failed}"


def _code(text: str) -> str:
    return f"`{text}`".replace("|", "\\|")


def seen() -> str:
    """What decides how code runs here."""
    from tinytorch.acceleration import kernels

    found = [f"Python {platform.python_version()}", f"{platform.system()} {platform.machine()}"]
    for name in LIBRARIES:
        with suppress(metadata.PackageNotFoundError):
            found.append(f"{name} {metadata.version(name)}")
    if hasattr(os, "geteuid"):
        os.umask(umask := os.umask(0o077))
        found += ["root" if os.geteuid() == 0 else "an ordinary user", f"umask {umask:03o}"]
    ends = "CRLF" if b"\r\n" in Path(__file__).read_bytes() else "LF"
    return ", ".join([*found, f"folder {_code(ROOT.name)}", f"line ends {ends}", f"kernels {' '.join(kernels())}"])


def ran(files: list[str]) -> tuple[str, str, bool]:
    """Run these tests and the check of exports; what that was, what came of it, and whether all is well."""
    from tito.cli import main

    counts, begun = Counts(), time.monotonic()
    status = pytest.main(["-q", "-p", "no:cacheprovider", "-p", "no:xdist", *files], plugins=[counts])
    exported = main(["export", "--check"])
    what = "PART" if tuple(files) == PART else ", ".join(map(_code, files))
    came = f"{counts} in {time.monotonic() - begun:.0f} s; `tito export --check` gives {exported}"
    return f"{what} at {_commit()}, `tito export --check`", came, int(status) == 0 and exported == 0


def _commit() -> str:
    done = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, encoding="utf-8")
    return done.stdout.strip() or "an unpacked archive"


def write(table: Path, name: str, cells: tuple[str, str, str]) -> None:
    """Put a row into the table, in the place of an earlier one of its name."""
    before, _, rows = table.read_text(encoding="utf-8").partition(HEAD + "\n| --- | --- | --- | --- |\n")
    kept = [row for row in rows.split("\n") if row and not row.startswith(f"| {name} |")]
    made = "\n".join(sorted([*kept, f"| {name} | {' | '.join(cells)} |"]))
    table.write_text(f"{before}{HEAD}\n| --- | --- | --- | --- |\n{made}\n", encoding="utf-8", newline="\n")


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("name", help="the row's name")
    parser.add_argument("files", nargs="*", help="tests to run; with --not, the reason")
    parser.add_argument("--not", dest="missing", action="store_true", help="it was not run")
    parser.add_argument("--table", type=Path, default=TABLE)
    asked = parser.parse_intermixed_args(argv)
    if asked.missing:
        write(asked.table, asked.name, ("", "not run", " ".join(asked.files)))
        return 0
    os.chdir(ROOT)
    what, came, is_well = ran(asked.files or list(PART))
    write(asked.table, asked.name, (seen(), what, came))
    return 0 if is_well else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
