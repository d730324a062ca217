"""Intake: what is read is what lies below the folder that was named, whoever changes folders meanwhile."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from tito.grading.intake import disk, unpacking
from tito.grading.intake.unpacking import Budget, Entry, Refused

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="links need no rights on Unix only")


def swapped(folder: Path, elsewhere: Path) -> None:
    """Put a link in the place of a folder, as quickly as anybody could."""
    folder.rename(folder.with_name("away"))
    folder.symlink_to(elsewhere, target_is_directory=True)


@pytest.fixture
def listed(tmp_path: Path) -> Callable[[str], Entry]:
    """A file some folders deep, listed; then the folder of this name becomes a link to another one."""
    for top in ("mallory", "victim"):
        path = tmp_path / top / "a" / "b" / "toy_dev.py"
        path.parent.mkdir(parents=True)
        path.write_text(f"of {top}", encoding="utf-8")

    def listed(name: str) -> Entry:
        (entry,) = unpacking.walk(tmp_path / "mallory")
        place = {"a": "mallory/a", "b": "mallory/a/b"}[name]
        swapped(tmp_path / place, tmp_path / place.replace("mallory", "victim"))
        return entry

    return listed


@pytest.mark.parametrize("name", ["a", "b"])
def test_a_folder_that_becomes_a_link_after_its_files_were_listed_lets_no_foreign_file_in(
    name: str, listed: Callable[[str], Entry]
) -> None:
    entry = listed(name)
    with ExitStack() as stack, pytest.raises(Refused, match="toy_dev.py cannot be opened"):
        unpacking.read(entry, Budget(stack))


@pytest.mark.parametrize("by_descriptor", [True, False])
def test_a_folder_that_becomes_a_link_before_it_is_listed_is_not_followed(
    by_descriptor: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk, "BY_DESCRIPTOR", by_descriptor)
    for name in ("mallory/a/mine.py", "victim/secret.py"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text("x", encoding="utf-8")
    tree = disk.Tree(tmp_path / "mallory")
    assert [item.name for item in tree.listed(("a",))] == ["mine.py"]
    swapped(tmp_path / "mallory" / "a", tmp_path / "victim")
    for use in (tree.listed, lambda parts: tree.opened((*parts, "secret.py"))):
        with pytest.raises(OSError):
            use(("a",))


def test_a_folder_that_was_named_is_kept_hold_of_whatever_takes_its_place(tmp_path: Path) -> None:
    for name in ("all/ada.py", "other/eve.py"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text("x", encoding="utf-8")
    tree = disk.Tree(tmp_path / "all")
    swapped(tmp_path / "all", tmp_path / "other")
    assert [item.name for item in tree.listed(())] == ["ada.py"]


def test_no_descriptor_is_left_open(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x.py").write_text("x", encoding="utf-8")
    before = len(list(Path("/dev/fd").iterdir()))
    for _ in range(20):
        with ExitStack() as stack:
            assert [unpacking.read(entry, Budget(stack)) for entry in unpacking.walk(tmp_path)] == [b"x"]
        (tmp_path / "a" / "y.py").symlink_to("nowhere")
        with pytest.raises(OSError):
            disk.Tree(tmp_path).opened(("a", "y.py"))
        (tmp_path / "a" / "y.py").unlink()
    assert len(list(Path("/dev/fd").iterdir())) == before
