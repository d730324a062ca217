"""Compiled code on disk: what is damaged, missing, forbidden or full costs speed, never an answer."""

import inspect
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tinytorch.acceleration.runtime import disk

ROOT = Path(__file__).parents[2]
PRODUCT = """
import numpy as np
from tinytorch.acceleration import int8_matmul, prepack_int8, quantize
def product():
    a, b = np.full((2, 70), 3, np.uint8), np.full((70, 20), -2, np.int8)
    assert (int8_matmul(a, prepack_int8(b), 1) == -280).all()
"""
COUNT = """
import llvmlite.binding as llvm
from numba.core import compiler
made = []
def counted(owner, name):
    function = getattr(owner, name)
    setattr(owner, name, lambda *rest, **more: made.append(name) or function(*rest, **more))
counted(llvm.TargetMachine, "emit_object")
counted(compiler, "compile_extra")
"""

pytestmark = pytest.mark.compiler


def run(code: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """`python -c code`, with the variables of `env` besides this process's."""
    env = {**os.environ, "PYTHONPATH": str(ROOT), **(env or {})}
    return subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, encoding="utf-8")


@pytest.fixture(scope="session")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with everything that PRODUCT compiles."""
    folder = tmp_path_factory.mktemp("warm")
    done = run(PRODUCT + "product()", env={"NUMBA_CACHE_DIR": str(folder)})
    assert (done.returncode, done.stderr) == (0, "")
    return folder


def fill(file: Path, data: bytes) -> None:
    file.write_bytes(data)


def make_folder(file: Path, data: bytes) -> None:
    file.unlink()
    file.mkdir()


DAMAGE: dict[str, Callable[[Path, bytes], None]] = {
    "empty": lambda file, data: fill(file, b""),
    "cut to its digest": lambda file, data: fill(file, data[: disk.DIGEST]),
    "one byte short": lambda file, data: fill(file, data[:-1]),
    "one bit turned": lambda file, data: fill(file, data[:-9] + bytes([data[-9] ^ 1]) + data[-8:]),
    "another file's bytes": lambda file, data: fill(file, b"\x80\x05N." + data),
    "zeros, as after a power cut": lambda file, data: fill(file, bytes(len(data))),
}


class TestFiles:
    """Of `kept`, without a compiler."""

    @pytest.fixture
    def folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
        monkeypatch.setattr(disk, "_told", [])
        return tmp_path / disk.folder_name()

    @pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
    def test_a_damaged_file_is_made_again_and_nothing_else_stays(
        self, folder: Path, damage: Callable[[Path, bytes], None]
    ) -> None:
        made = [disk.kept("code", text.encode) for text in ("first", "second")]
        damage(folder / "code", (folder / "code").read_bytes())
        made += [disk.kept("code", text.encode) for text in ("third", "fourth")]
        assert made == [b"first", b"first", b"third", b"third"]
        assert [path.name for path in folder.iterdir()] == ["code"]

    def test_what_cannot_be_replaced_is_made_each_time_and_said_once(self, folder: Path) -> None:
        disk.kept("code", lambda: b"first")
        make_folder(folder / "code", b"")
        with pytest.warns(RuntimeWarning, match="cannot be kept on disk .*: each process compiles them anew") as told:
            made = [disk.kept("code", text.encode) for text in ("second", "third")]
        assert made == [b"second", b"third"] and len(told) == 1
        assert [path.name for path in folder.iterdir()] == ["code"], "the part that was written is gone"

    def test_what_another_user_wrote_is_not_run(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        disk.kept("code", lambda: b"first")
        monkeypatch.setattr(disk, "_is_trusted", lambda owner: owner == -1)
        assert disk.kept("code", lambda: b"second") == b"second"

    @pytest.mark.skipif(not hasattr(os, "geteuid"), reason="users have numbers on POSIX alone")
    def test_trusted_are_root_the_user_and_the_package_s_owner(self) -> None:
        mine = {0, os.geteuid(), disk.PACKAGE.stat().st_uid}
        assert all(map(disk._is_trusted, mine)) and not disk._is_trusted(max(mine) + 1)

    def test_a_writer_in_between_is_enough(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Windows lets nobody replace a file that is open."""

        def refused(part: Path, target: Path) -> None:
            target.write_bytes(part.read_bytes())
            raise PermissionError("open elsewhere")

        monkeypatch.setattr(Path, "replace", refused)
        assert disk.kept("code", lambda: b"same") == b"same" and disk._told == []


class TestFolders:
    """Where files go."""

    @pytest.fixture(autouse=True)
    def places(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        name = disk.folder_name()
        monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user"))
        monkeypatch.setattr(disk, "folder_name", lambda: name)
        monkeypatch.setattr(disk, "PACKAGE", tmp_path / "package")
        (tmp_path / "package").mkdir()

    @staticmethod
    def blocked(folder: Path) -> None:
        """Root may write anywhere, but not into a file."""
        folder.parent.mkdir(exist_ok=True)
        folder.write_text("not a folder", encoding="utf-8")

    def test_first_comes_the_wanted_folder_then_the_package_then_the_user(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        package, user = disk.folders()
        assert package.is_relative_to(tmp_path / "package" / "__pycache__")
        assert user.is_relative_to(tmp_path / "user" / "tinytorch")
        monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "wanted"))
        assert [folder.parent for folder in disk.folders()] == [tmp_path / "wanted"]

    def test_a_wanted_folder_that_cannot_be_is_passed_over(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.blocked(tmp_path / "wanted")
        monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "wanted" / "inside"))
        assert len(disk.folders()) == 2

    def test_where_the_package_cannot_be_written_the_user_s_folder_serves(self, tmp_path: Path) -> None:
        self.blocked(tmp_path / "package" / "__pycache__")
        disk.write("code", b"data")
        assert disk.read("code") == b"data" and len(list((tmp_path / "user").rglob("code"))) == 1

    @pytest.mark.parametrize("wanted", [None, "", "relative"])
    def test_without_a_home_there_is_no_user_s_folder(
        self, monkeypatch: pytest.MonkeyPatch, wanted: str | None
    ) -> None:
        """As in a container whose user has no name: Path.home() raises RuntimeError."""
        monkeypatch.setattr(os.path, "expanduser", lambda path: path)
        if wanted is None:
            monkeypatch.delenv("XDG_CACHE_HOME")
        else:
            monkeypatch.setenv("XDG_CACHE_HOME", wanted)
        assert len(disk.folders()) == 1

    def test_without_any_folder_nothing_is_kept_and_one_sentence_says_so(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(disk, "_told", [])
        self.blocked(tmp_path / "package" / "__pycache__")
        self.blocked(tmp_path / "user")
        with pytest.warns(RuntimeWarning, match="set NUMBA_CACHE_DIR to a folder that can be written") as told:
            assert [disk.kept("code", text.encode) for text in ("first", "second")] == [b"first", b"second"]
        assert len(told) == 1


def test_a_second_process_compiles_nothing(warm: Path) -> None:
    done = run(COUNT + PRODUCT + "product(); print(made)", env={"NUMBA_CACHE_DIR": str(warm)})
    assert (done.stdout.strip(), done.stderr) == ("[]", "")


def test_damaged_kernels_are_compiled_again_in_silence(warm: Path, tmp_path: Path) -> None:
    """Numba's own cache raises EOFError, UnpicklingError or ValueError for most of these, at every later run."""
    shutil.copytree(warm, tmp_path, dirs_exist_ok=True)
    files = sorted(file for file in tmp_path.rglob("*") if file.is_file())
    for i, file in enumerate(files):
        list(DAMAGE.values())[i % len(DAMAGE)](file, file.read_bytes())
    done = [run(COUNT + PRODUCT + "product(); print(made != [])", env={"NUMBA_CACHE_DIR": str(tmp_path)})]
    done += [run(COUNT + PRODUCT + "product(); print(made)", env={"NUMBA_CACHE_DIR": str(tmp_path)})]
    assert [(d.stdout.strip(), d.stderr) for d in done] == [("True", ""), ("[]", "")]
    assert sorted(file for file in tmp_path.rglob("*") if file.is_file()) == files


def test_what_is_whole_but_no_kernel_is_compiled_again(warm: Path, tmp_path: Path) -> None:
    shutil.copytree(warm, tmp_path, dirs_exist_ok=True)
    (file,) = tmp_path.rglob("*small_matmul*")
    disk._write(file, b"\x80\x05N.")
    done = run(PRODUCT + "product()", env={"NUMBA_CACHE_DIR": str(tmp_path)})
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit on the size of files")
def test_a_limit_on_the_size_of_files_costs_speed_only(warm: Path, tmp_path: Path) -> None:
    """The same path as a full disk, which stress/ fills for real."""
    shutil.copytree(warm, tmp_path, dirs_exist_ok=True)
    for pattern in ("*small_matmul*", "*.o"):
        next(tmp_path.rglob(pattern)).unlink()
    code = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))\n" + PRODUCT + "product(); product()"
    done = run(code, env={"NUMBA_CACHE_DIR": str(tmp_path)})
    assert done.returncode == 0 and done.stderr.count("cannot be kept on disk") == 1, done.stderr
    assert not list(tmp_path.rglob("*.part"))


def test_the_folder_is_another_for_another_processor_version_python_or_source() -> None:
    code = "{}\nfrom tinytorch.acceleration.runtime import disk\nprint(disk.folder_name())"
    changes = [
        "", "import llvmlite.binding as llvm; llvm.get_host_cpu_name = lambda: 'another'",
        "import numba; numba.__version__ = '0'", "import llvmlite.binding as llvm; llvm.llvm_version_info = (99, 0, 0)",
        "import sys; sys.implementation.cache_tag = 'another'",
        "from pathlib import Path; read = Path.read_text; Path.read_text = lambda p, **k: read(p, **k) + '#'",
    ]  # fmt: skip
    assert len({run(code.format(change)).stdout for change in changes}) == len(changes)


def test_a_kernel_is_kept_for_each_set_of_features(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import platform

    from tinytorch.acceleration.loops import jit

    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    every_processor_has = "+neon" if platform.machine().lower() in ("aarch64", "arm64") else "+sse2"
    for features in ("", every_processor_has, ""):  # of the host LLVM may know none, as on macOS
        inspect.unwrap(jit._compile)("define void @nothing() {\n  ret void\n}", features)
    assert len(list((tmp_path / disk.folder_name()).iterdir())) == 2


INTERRUPTED = """
import os, signal, sys, threading, time
kind, pause = sys.argv[1], float(sys.argv[2])
class Stopped(BaseException): pass
def stop(*rest): raise Stopped
number = {"Ctrl-C": signal.SIGINT, "alarm": signal.SIGALRM, "terminate": signal.SIGTERM}[kind]
if kind != "Ctrl-C": signal.signal(number, stop)
def interrupt():
    while "numba" not in sys.modules: time.sleep(0.001)
    time.sleep(pause)
    os.kill(os.getpid(), number)
threading.Thread(target=interrupt, daemon=True).start()
came = 0
try:
    product()
    time.sleep(5)
except (KeyboardInterrupt, Stopped): came += 1
product()
print(came)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@pytest.mark.parametrize(
    "kind, pause", [("Ctrl-C", 0.02), ("Ctrl-C", 0.2), ("alarm", 0.1), ("terminate", 0.3)], ids=str
)
def test_a_signal_in_the_first_call_arrives_and_the_next_call_works(warm: Path, kind: str, pause: float) -> None:
    """Numba would be half imported for the rest of the process."""
    env = {**os.environ, "PYTHONPATH": str(ROOT), "NUMBA_CACHE_DIR": str(warm)}
    command = [sys.executable, "-c", PRODUCT + INTERRUPTED, kind, str(pause)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, encoding="utf-8")
    assert (done.stdout.strip(), done.stderr) == ("1", "")
