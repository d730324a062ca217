"""Processes that share a folder of compiled code, and folders that take no files: speed is lost, never an answer."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tinytorch.acceleration.runtime import disk

pytestmark = [
    pytest.mark.compiler,
    pytest.mark.skipif(sys.platform == "win32", reason="users, mounts and SIGKILL are POSIX's"),
]
as_root = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root may mount or change user"
)
NOBODY = 54_321  # without a name and a home


def product(user: int | None = None) -> None:
    """A product on a kernel that has to be compiled or read; then as `user`, if there is one, codes by another one."""
    import os

    import numpy as np

    from tinytorch.acceleration import int8_matmul, prepack_int8, quantize
    from tinytorch.quantization import QParams

    a, b = np.full((2, 70), 3, np.uint8), np.full((70, 20), -2, np.int8)
    assert (int8_matmul(a, prepack_int8(b), 1) == -280).all()
    if user is not None:
        os.setgid(user)
        os.setuid(user)
        assert (quantize(np.ones((9, 9), np.float32), QParams(1 / 64, 0)) == 64).all()


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def start(folder: Path) -> subprocess.Popen[bytes]:
    code = f"import runpy; runpy.run_path({str(Path(__file__))!r})['product']()"
    return subprocess.Popen([sys.executable, "-c", code], env={**os.environ, "NUMBA_CACHE_DIR": str(folder)})


def test_processes_that_are_killed_leave_only_whole_files(tmp_path: Path, in_child: Any, size: Any) -> None:
    """Every other one dies at some moment while they write; the rest, and all that come later, are right."""
    running = [start(tmp_path) for _ in range(size(short=2, long=20))]
    while len(files(tmp_path)) < 2 and any(process.poll() is None for process in running):
        time.sleep(0.01)
    for process in running[::2]:
        process.send_signal(signal.SIGKILL)
        time.sleep(0.05)
    assert [process.wait() for process in running[1::2]] == [0] * len(running[1::2])
    for process in running[::2]:
        process.wait()
    assert all(disk._read(file) is not None for file in files(tmp_path) if file.suffix != ".part")
    in_child(product, environment={"NUMBA_CACHE_DIR": str(tmp_path)})


def can_mount() -> bool:
    """Whether a process may mount a disk here: one does, where no other sees it."""
    if sys.platform != "linux" or shutil.which("unshare") is None:
        return False
    tried = ["unshare", "--mount", "mount", "-t", "tmpfs", "tmpfs", tempfile.gettempdir()]
    return subprocess.run(tried, capture_output=True).returncode == 0


def private_pythons() -> dict[Path, list[Path]]:
    """Folders of this Python below others that not every user may enter, and these."""
    roots = {Path(sys.base_prefix).resolve(), Path(sys.prefix).resolve()}
    private = {root: [parent for parent in root.parents if not parent.stat().st_mode & 0o001] for root in sorted(roots)}
    return {root: parents for root, parents in private.items() if parents}


# In text, which pytest asks and not the processes that run this file.
with_a_disk = pytest.mark.skipif("not can_mount()", reason="no disk can be mounted here")
with_a_public_python = pytest.mark.skipif(
    "private_pythons() and not can_mount()", reason="this Python is private, and no public place can be mounted"
)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 64 KB, which the first kernels fill."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(tmp_path)], check=True)
    yield tmp_path
    subprocess.run(["umount", str(tmp_path)], check=True)


def warned(*prefix: str, environment: dict[str, str], user: int | None = None, folder: Path | None = None) -> int:
    """How often a process that ran `product(user)`, in `folder`, said that nothing can be kept."""
    script = Path(__file__)
    if folder is not None:  # which may be all that the process sees
        script = Path(shutil.copy(script, folder))
    code = f"import runpy; runpy.run_path({str(script)!r})['product']({user})"
    command = [*prefix, sys.executable, "-c", code]
    env = {**os.environ, **environment}
    done = subprocess.run(command, env=env, cwd=folder, capture_output=True, text=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    return done.stderr.count("cannot be kept on disk")


@as_root
@with_a_disk
def test_a_full_disk_costs_speed_only(small_disk: Path, size: Any) -> None:
    for _ in range(size(short=1, long=5)):
        assert warned(environment={"NUMBA_CACHE_DIR": str(small_disk)}) == 1
        assert all(disk._read(file) is not None for file in files(small_disk)), "and nothing half written stays"


@as_root
@pytest.mark.skipif(shutil.which("setpriv") is None, reason="setpriv makes the user who may read all and write nothing")
@pytest.mark.parametrize("good", [True, False])
def test_a_user_without_name_and_home_computes(good: bool) -> None:
    """A good NUMBA_CACHE_DIR serves; without one nothing is left in /tmp."""
    folder, temporary = (Path(tempfile.mkdtemp()) for _ in range(2))
    for path in (folder, temporary):
        path.chmod(0o777 if path == temporary or good else 0o755)
    user = "setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"
    reader = "--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"
    environment = {"HOME": "", "XDG_CACHE_HOME": "", "TMPDIR": str(temporary), "NUMBA_CACHE_DIR": str(folder)}
    try:
        assert warned(*user, *reader, environment=environment) <= (not good)
        assert bool(files(folder)) == good and not files(temporary)
    finally:
        shutil.rmtree(folder)
        shutil.rmtree(temporary)


def public_python(folder: Path) -> list[str]:
    """The beginning of a command in which every user may read this Python.

    Nothing, if it is so anyway. Else the command gets mounts of its own, in which the private folders above Python are
    covered by public ones that hold it alone. folder: a place for mounts.
    """
    private = private_pythons()
    if not private:
        return []
    held = {root: folder / str(number) for number, root in enumerate(private)}
    for place in held.values():
        place.mkdir(parents=True)
    lines = [f"mount --bind {root} {place}" for root, place in held.items()]
    lines += [f"mount -t tmpfs -o mode=755 tmpfs {covered}" for covered in {above[-1] for above in private.values()}]
    lines += [f"mkdir -p {root}\nmount --bind {place} {root}" for root, place in held.items()]
    return ["unshare", "--mount", "sh", "-e", "-c", "\n".join([*lines, 'exec "$@"']), "sh"]


@as_root
@with_a_public_python
def test_privileges_that_are_dropped_after_the_import_cost_speed_only(tmp_path: Path) -> None:
    """The package is one that has never run, so that the user who is left has to compile."""
    package, python = Path(tempfile.mkdtemp()), public_python(tmp_path / "mounts")
    package.chmod(0o755)
    shutil.copytree(disk.PACKAGE.parent, package / "tinytorch", ignore=shutil.ignore_patterns("__pycache__"))
    environment = {"NUMBA_CACHE_DIR": str(tmp_path / "cache"), "HOME": "/", "XDG_CACHE_HOME": ""}
    try:
        assert warned(*python, environment=environment, user=NOBODY, folder=package) == 1
        assert files(tmp_path / "cache"), "what root compiled was kept"
    finally:
        shutil.rmtree(package)
