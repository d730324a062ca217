"""Writing: whole, through links, with the mode kept, and from several threads and processes at once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path

import pytest

from tito import files
from tito.course import backups
from tito.course.module import load_module
from tito.course.project import Project
from tito.errors import TitoError
from tito.learning import progress

from .toy_course import Course


def left_over(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob("*") if path.name.endswith(".new")]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such modes")
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o755, 0o444])
def test_a_file_that_is_replaced_keeps_its_mode(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "private.json"
    path.write_text("old", encoding="utf-8")
    path.chmod(mode)
    files.write_whole([(path, "new")])
    assert (path.read_text(encoding="utf-8"), path.stat().st_mode & 0o777) == ("new", mode)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such modes")
def test_a_new_file_has_the_mode_that_the_system_gives_and_a_backup_that_of_what_it_copies(tmp_path: Path) -> None:
    new = tmp_path / "new.txt"
    files.write_whole([(new, "")])
    plain = tmp_path / "plain.txt"
    plain.touch()
    assert new.stat().st_mode == plain.stat().st_mode
    plain.chmod(0o600)
    assert backups.keep(Project(tmp_path), plain, "why").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("clock", ["stands still", "is set back", "goes on"])
def test_a_module_that_is_replaced_gets_a_later_time_whatever_the_clock_does(tmp_path: Path, clock: str) -> None:
    """The time in whole seconds: by it, and by the length, Python takes bytecode for a module's own."""
    path = tmp_path / "module.py"
    path.write_text("a", encoding="utf-8")
    then = {"stands still": time.time(), "is set back": time.time() + 3600, "goes on": time.time() - 60}[clock]
    os.utime(path, (then, then))
    times = [int(path.stat().st_mtime)]
    for text in "bcd":
        files.write_whole([(path, text)], imported=True)
        times.append(int(path.stat().st_mtime))
    assert times == sorted(set(times))


def test_other_files_keep_the_time_at_which_they_were_written(tmp_path: Path) -> None:
    path = tmp_path / "notebook.py"
    for text in "ab":
        files.write_whole([(path, text)])
    assert path.stat().st_mtime <= time.time() + 0.1


@pytest.mark.parametrize("depth, is_read", [(files.DEEPEST, True), (files.DEEPEST + 1, False), (100_000, False)])
@pytest.mark.parametrize("begin, end", ["[]", ('{"x": 1, "y": ', "}")])
def test_how_deep_json_may_be_depends_on_no_version_of_python(depth: int, is_read: bool, begin: str, end: str) -> None:
    inner = "[]" if begin == "[" else "{}"
    text = begin * (depth - 1) + inner + end * (depth - 1)
    with nullcontext() if is_read else pytest.raises(ValueError, match="nested too deeply"):
        files.parsed(text)


@pytest.mark.parametrize("name", ["progress.json", "pairs.json"])
def test_what_a_person_made_of_our_own_files_stops_no_command(edition: Course, name: str) -> None:
    for text in ("[" * 100_000 + "]" * 100_000, "[" * 2_000 + "]" * 2_000, "{", "null"):
        edition.write(f".tito/{name}", text)
        for command in (["status"], ["start", "--no-lab"], ["export"]):
            assert edition.tito(*command).status == 0, (command, text[:9])


def test_a_digest_is_of_the_text_whatever_its_line_ends() -> None:
    assert files.digest(b"a\r\nb\r\n") == files.digest(b"a\nb\r\n") == files.digest(b"a\nb\n")
    assert files.digest(b"a\nb\n") != files.digest(b"a\n\nb\n")


def link(path: Path, to: Path | str) -> None:
    try:
        path.symlink_to(to)
    except OSError:
        pytest.skip("Windows gives links only to developers")


def test_a_link_stays_a_link_and_the_file_it_leads_to_is_written(tmp_path: Path) -> None:
    real, between, path = tmp_path / "elsewhere" / "real.py", tmp_path / "between.py", tmp_path / "link.py"
    real.parent.mkdir()
    real.write_text("old", encoding="utf-8")
    link(between, Path("elsewhere", "real.py"))
    link(path, between)
    files.write_whole([(path, "new")])
    assert path.is_symlink() and between.is_symlink() and real.read_text(encoding="utf-8") == "new"
    assert not left_over(tmp_path)


def test_a_link_that_leads_nowhere_makes_the_file_it_names(tmp_path: Path) -> None:
    link(tmp_path / "link.py", tmp_path / "not yet" / "there.py")
    files.write_whole([(tmp_path / "link.py", "new")])
    assert (tmp_path / "not yet" / "there.py").read_text(encoding="utf-8") == "new"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no /dev")
def test_a_device_is_written_to_and_not_replaced() -> None:
    files.write_whole([(Path(os.devnull), "new")])
    assert not Path(os.devnull).is_file()
    command = "from pathlib import Path; from tito import files; files.write_whole([(Path('/dev/stdout'), 'told')])"
    done = subprocess.run([sys.executable, "-c", command], capture_output=True, encoding="utf-8")
    assert (done.returncode, done.stdout) == (0, "told"), done.stderr


@pytest.mark.parametrize("second", ["a folder", "below a file"])
def test_of_several_targets_it_is_told_which_hold_the_new_text_already(tmp_path: Path, second: str) -> None:
    first, third = tmp_path / "first.txt", tmp_path / "third.txt"
    for path in (first, third):
        path.write_text("old", encoding="utf-8")
    wrong = tmp_path / "second" if second == "a folder" else first / "second"
    if second == "a folder":
        wrong.mkdir()
    with pytest.raises(TitoError) as error:
        files.write_whole([(path, "new") for path in (first, wrong, third)])
    told = str(error.value)
    assert told.startswith(f"{wrong} could not be written (") and "what was there is unchanged" in told
    if second == "a folder":  # which is found only when the files are put in place
        assert told.endswith(f"unchanged, but {first} was written") and first.read_text(encoding="utf-8") == "new"
    else:
        assert told.endswith("unchanged") and first.read_text(encoding="utf-8") == "old"
    assert third.read_text(encoding="utf-8") == "old" and not left_over(tmp_path)


def test_names_as_long_as_the_system_allows_can_be_written(tmp_path: Path) -> None:
    path = tmp_path / ("ü" * 120 + ".json" if sys.platform != "win32" else "n" * 60)
    files.write_whole([(path, "new")])
    assert path.read_text(encoding="utf-8") == "new"


def test_many_threads_may_write_one_path(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    texts = [str(number) * 50_000 for number in range(8)]

    def write(text: str) -> None:
        for _ in range(20):
            files.write_whole([(path, text)])

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, texts))
    assert path.read_text(encoding="utf-8") in texts and not left_over(tmp_path)


def test_many_copies_of_one_file_in_one_second_are_all_kept(tmp_path: Path) -> None:
    path = tmp_path / "toy_dev.py"
    path.write_text("text", encoding="utf-8")
    with ThreadPoolExecutor(8) as pool:
        kept = list(pool.map(lambda _: backups.keep(Project(tmp_path), path, "why"), range(40)))
    assert len(set(kept)) == 40 and all(copy.read_text(encoding="utf-8") == "text" for copy in kept)


def test_results_and_hints_of_threads_are_all_remembered(edition: Course) -> None:
    """As in `tito watch`: a round ends in one thread while the key `h` is pressed in another."""
    names = [f"exercise_{number}" for number in range(40)]

    def note(name: str) -> None:
        assert progress.update(edition.project, lambda kept: kept.change("01_toy", name, hints=1))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(note, names))
    assert sorted(progress.read(edition.project).entries["01_toy"]) == sorted(names)


NOTE = """
import sys
from pathlib import Path
from tito.course.project import Project
from tito.learning import progress
for number in range(20):
    name = f"{sys.argv[2]}_{number}"
    assert progress.update(Project(Path(sys.argv[1])), lambda kept: kept.change("01_toy", name, status="passed"))
"""


def test_results_of_two_commands_at_once_are_all_remembered(edition: Course) -> None:
    commands = [[sys.executable, "-c", NOTE, str(edition.root), name] for name in ("a", "b", "c")]
    processes = [subprocess.Popen(command) for command in commands]
    assert [process.wait(timeout=120) for process in processes] == [0, 0, 0]
    assert len(json.loads(edition.read(".tito/progress.json"))["modules"]["01_toy"]) == 60


def test_where_nothing_can_be_remembered_that_is_told_and_nothing_fails(edition: Course) -> None:
    (edition.root / ".tito").write_text("in the way", encoding="utf-8")
    assert not progress.update(edition.project, lambda kept: kept.change("01_toy", "double", hints=1))
    module = load_module(edition.project, "01_toy")
    assert progress.read(edition.project).current(module) == module.exercises[0]


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_what_is_stopped_while_files_are_put_in_place_has_put_all_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    number, into_place = getattr(signal, name), Path.replace
    before = signal.signal(number, signal.default_int_handler)

    def stopped(path: Path, target: str) -> Path:
        signal.raise_signal(number)
        return into_place(path, target)

    monkeypatch.setattr(Path, "replace", stopped)
    try:
        with pytest.raises(KeyboardInterrupt):
            files.write_whole([(tmp_path / name, "new") for name in "abc"])
        assert signal.getsignal(number) is signal.default_int_handler
    finally:
        signal.signal(number, before)
    assert [(tmp_path / name).read_text(encoding="utf-8") for name in "abc"] == ["new"] * 3 and not left_over(tmp_path)


def test_a_folder_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    folder = tmp_path / "above" / "folder"
    with pytest.raises(KeyboardInterrupt), files.whole_folder(folder) as made:
        (made / "a.txt").touch()
        raise KeyboardInterrupt
    assert not [*tmp_path.iterdir()], "the folder above it was made for it alone"
    with files.whole_folder(folder) as made:
        (made / "a.txt").touch()
    assert [path.name for path in tmp_path.rglob("*")] == ["above", "folder", "a.txt"]
