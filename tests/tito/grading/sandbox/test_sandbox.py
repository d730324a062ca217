"""The sandbox itself: what is in it, what it refuses, and what a machine without one is told."""

from __future__ import annotations

import os
import platform
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from tito import doctor, processes
from tito.course import given
from tito.course.edition import Edition
from tito.course.module import load_module
from tito.course.project import Project
from tito.grading.sandbox import bubblewrap, layout
from tito.testing import environment

from ...toy_course import ROOT, Course, copy_toy

COURSE = Project(ROOT)
EDITION = Edition(COURSE, load_module(COURSE, "17_quantization"))
Install = Callable[[str], Path]
needs_a_sandbox = pytest.mark.sandbox


@pytest.fixture(scope="module")
def laid_out() -> Iterator[Path]:
    """What lies in a sandbox for module 17."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        layout.lay_out(COURSE, EDITION.package, folder)
        yield folder


def inside(code: str, folder: Path | None = None) -> str:
    """What a Python in the sandbox prints."""
    paths = "import sys; sys.path[:0] = ['/sandbox', '/sandbox/site']\n"
    command = bubblewrap.command([str(bubblewrap._interpreter()), "-S", "-P", "-c", paths + code], folder)
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8")
    return (done.stdout + done.stderr).strip()


@needs_a_sandbox
def test_this_machine_has_a_sandbox() -> None:
    here = bubblewrap.protection()
    assert here.kind == "sandbox", f"{here.reason}: {here.fix}"


@needs_a_sandbox
def test_only_scratch_can_be_written() -> None:
    tried = "import os\nfor f in ('/', '/dev', '/proc', '/usr', '/sandbox', '/usr/lib', '/tmp', '/dev/shm'):\n"
    tried += "    try: open(f + '/x', 'w'); print(f)\n    except OSError: pass"
    assert inside(tried) == "/tmp\n/dev/shm"


@needs_a_sandbox
def test_there_is_no_shell_no_tool_and_no_other_process() -> None:
    looked = "import os\nplaces = ('/bin', '/sbin', '/etc', '/home', '/sys', '/var', '/run')\n"
    looked += "print([place for place in places if os.path.exists(place)])\n"
    looked += "print(os.getpid(), os.listdir('/proc'), sorted(os.listdir('/dev')))"
    assert inside(looked) == "[]\n1 [] ['null', 'shm', 'urandom']"
    for tool in ("/usr/bin/bwrap", "/usr/bin/setpriv"):
        assert inside(f"import os; print(os.path.exists({tool!r}) and os.stat({tool!r}).st_size > 0)") == "False"


@needs_a_sandbox
def test_nobody_is_inside_and_becomes_nobody_else() -> None:
    got = inside(
        "import os\nprint(os.getuid(), os.getgid())\ntry: os.setuid(0)\nexcept OSError as error: print(error.errno)"
    )
    assert got == f"{bubblewrap.NOBODY} {bubblewrap.NOBODY}\n22"
    unshared = "import ctypes\nprint(ctypes.CDLL(None, use_errno=True).unshare(0x10000000))"
    assert inside(unshared) == "-1", "a user namespace inside would give its maker powers over the kernel"


@needs_a_sandbox
def test_there_is_no_network() -> None:
    assert inside("import socket\nprint([name for _, name in socket.if_nameindex()])") in ("[]", "['lo']")
    reached = (
        "import socket\ntry: socket.create_connection(('127.0.0.1', {}), 1)\nexcept OSError as e: print('refused')"
    )
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert inside(reached.format(server.getsockname()[1])) == "refused"
        server.setblocking(False)
        with pytest.raises(BlockingIOError):
            server.accept()


@needs_a_sandbox
def test_the_environment_is_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", "secret")
    names = inside("import os\nprint(sorted(os.environ))")
    assert names == str(sorted({*bubblewrap.environment(), "PWD"})), names


@needs_a_sandbox
@pytest.mark.parametrize(
    ("folder", "most"),
    [("/tmp", environment.SCRATCH_BYTES), ("/dev/shm", bubblewrap.SEMAPHORE_BYTES)],
    ids=["files", "locks"],
)
def test_scratch_is_small(folder: str, most: int) -> None:
    filled = f"n = 0\ntry:\n    with open('{folder}/x', 'wb', 0) as f:\n"
    filled += "        while n < 1 << 30: n += f.write(bytes(1 << 20))\n"
    assert int(inside(filled + "except OSError: pass\nprint(n)")) <= most


@needs_a_sandbox
def test_numpy_is_there_and_no_other_library(laid_out: Path) -> None:
    assert inside("import numpy; print(numpy.__file__)", laid_out) == "/sandbox/site/numpy/__init__.py"
    search = "import importlib.util, glob\nnames = ('scipy', 'numba', 'torch', 'onnx', 'pytest', 'hypothesis', 'pip')\n"
    assert inside(search + "print([n for n in names if importlib.util.find_spec(n)])", laid_out) == "[]"
    packages = f"import os\nprint([f for f in {[str(f) for f in bubblewrap._other_packages()]} if os.listdir(f)])"
    assert inside(packages, laid_out) == "[]"


@needs_a_sandbox
def test_the_given_package_works(laid_out: Path) -> None:
    ran = "import numpy as np\nfrom tinytorch.core import Linear, Tensor\n"
    ran += "print(Linear(4, 2)(Tensor(np.ones((3, 4)))).shape)"
    assert inside(ran, laid_out) == "(3, 2)"
    assert "No module named 'tinytorch.acceleration'" in inside("import tinytorch.acceleration", laid_out)


def test_no_solution_and_no_test_is_laid_out(laid_out: Path) -> None:
    assert [file for file in EDITION.targets if (laid_out / file.relative_to(COURSE.root)).exists()] == []
    ours = (path.relative_to(laid_out) for path in laid_out.rglob("*.py"))
    names = {path.name for path in ours if path.parts[0] != layout.SITE}  # where NumPy is copied, with its own tests
    assert not names & {"quantize.py", "networks.py", "qat.py", "mixed_precision.py", "verdicts.py", "judge.py"}
    assert {path.name for path in (laid_out / "tito").rglob("*.py")} == {Path(name).name for name in layout.OURS}
    assert not any(name.startswith("test_") for name in names)


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Put a text in NumPy's place, in a folder of its own; only its owner may read it."""

    def install(text: str) -> Path:
        package = tmp_path / "installed" / "numpy"
        package.mkdir(parents=True)
        (package / "__init__.py").write_text(text, encoding="utf-8")
        (package / "__init__.py").chmod(0o600)
        package.chmod(0o700)
        monkeypatch.setattr(layout, "packages", lambda: [package])
        return package

    return install


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o027])
def test_what_is_laid_out_every_user_can_read_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        layout.lay_out(COURSE, EDITION.package, tmp_path)
    finally:
        os.umask(before)
    assert {layout.is_open(path) for path in (tmp_path, *tmp_path.rglob("*"))} == {True}


@needs_a_sandbox
def test_a_numpy_that_only_its_owner_can_read_is_there_all_the_same(installed: Install, tmp_path: Path) -> None:
    package = installed("WHERE = 'a copy'\n")
    folder = tmp_path / "given"
    folder.mkdir()
    layout.lay_out_packages(folder)
    assert inside("import numpy; print(numpy.WHERE)", folder) == "a copy"
    assert bubblewrap.protection().kind == "sandbox"
    assert package.stat().st_mode & 0o777 == 0o700, "an installation stays as it is"


def test_a_numpy_that_everybody_can_read_is_not_copied(installed: Install, tmp_path: Path) -> None:
    package = installed("")
    package.chmod(0o755)
    (package / "__init__.py").chmod(0o644)
    layout.lay_out_packages(tmp_path)
    assert not (tmp_path / layout.SITE).exists()


@needs_a_sandbox
@pytest.mark.parametrize("said", ["libblas.so.3: cannot open shared object file", "numpy was built for another Python"])
def test_a_sandbox_in_which_numpy_cannot_be_imported_is_none(installed: Install, said: str) -> None:
    installed(f"raise ImportError({said!r})\n")
    here = bubblewrap.protection()
    assert here.kind == "none" and said in here.reason and "pip install --force-reinstall numpy" in here.fix


@needs_a_sandbox
def test_a_python_that_only_root_can_read_is_told_with_its_fix(monkeypatch: pytest.MonkeyPatch) -> None:
    said = subprocess.CompletedProcess([], 1, b"", b"ModuleNotFoundError: No module named 'encodings'\n")
    monkeypatch.setattr(subprocess, "run", lambda *args, **kwargs: said)
    monkeypatch.setattr(layout, "is_open", lambda path: False)
    monkeypatch.setattr(layout, "packages", list)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    here = bubblewrap.protection()
    assert here.kind == "none" and "'encodings'" in here.reason
    assert here.fix == f"chmod -R go+rX {sys.base_prefix}"


@pytest.fixture
def elsewhere() -> Iterator[Path]:
    """A folder that is not below /tmp, where a sandbox has its scratch."""
    with tempfile.TemporaryDirectory(prefix="own blas ", dir="/var/tmp") as folder:
        yield Path(folder)


@needs_a_sandbox
def test_shared_libraries_that_numpy_finds_in_places_of_their_own_are_found_inside_too(
    elsewhere: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As Debian's NumPy finds its BLAS through /etc/alternatives, which is not in a sandbox."""
    library = elsewhere / "libown.so.3.11"
    shutil.copyfile(next(Path(np.__file__).parent.glob("random/_common*.so")), library)
    library.chmod(0o644)  # whatever the umask
    library.with_name("libown.so.3").symlink_to(library.name)
    library.with_name("secret.txt").touch()
    usual = "/usr/lib/x86_64-linux-gnu/libc.so.6"
    maps = tmp_path / "maps"
    maps.write_text("".join(f"0-1 r-xp 0 0:0 1 {name}\n" for name in (library, library, usual)), encoding="utf-8")
    monkeypatch.setattr(bubblewrap, "MAPPED", maps)
    bubblewrap._unusual_libraries.cache_clear()
    try:
        assert inside("import ctypes, os; ctypes.CDLL('libown.so.3'); print(os.path.exists('/etc'))") == "False"
        listed = inside(f"import os; print(sorted(os.listdir({str(library.parent)!r})))")
        assert listed == "['libown.so.3', 'libown.so.3.11']"
    finally:
        bubblewrap._unusual_libraries.cache_clear()


@needs_a_sandbox
def test_a_library_in_a_folder_that_is_bound_is_not_bound_once_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """Debian's BLAS is a link in a folder of /usr/lib, and a new bubblewrap mounts nothing over a link."""
    there, elsewhere = next(bubblewrap._libraries()) / "blas/libblas.so.3", Path("/opt/blas/libblas.so.3")
    monkeypatch.setattr(bubblewrap, "_unusual_libraries", lambda: (there, elsewhere))
    arguments = bubblewrap.command(["true"], None)
    assert str(elsewhere) in arguments and str(there) not in arguments


@needs_a_sandbox
@pytest.mark.parametrize("user", [None, 1000], ids=["as who tests", "as an ordinary user, with one sandbox"])
def test_nothing_outlives_its_end_even_if_it_is_told_nothing_of_its_parents(
    monkeypatch: pytest.MonkeyPatch, user: int | None
) -> None:
    """Inside the filter refuses this prctl; where it was made all the same, its process is ended by its number."""
    sign = f"a process that stays {os.urandom(8).hex()}"
    code = "import ctypes, time\nctypes.CDLL(None).prctl(1, 0, 0, 0, 0)\nprint('ready', flush=True)\n"
    code += f"time.sleep(300)  # {sign}"
    if user:
        monkeypatch.setattr(os, "geteuid", lambda: user)
    process = subprocess.Popen(
        bubblewrap.command([str(bubblewrap._interpreter()), "-S", "-P", "-c", code], None),
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    with process:
        assert process.stdout is not None and process.stdout.readline() == b"ready\n" and len(named(sign)) > 1
        processes.end(process)
        until = time.monotonic() + 20
        while (left := named(sign)) and time.monotonic() < until:
            time.sleep(0.05)
    assert left == []


def named(sign: str) -> list[str]:
    """The processes in whose command line this stands."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            found += [entry.name] if sign.encode() in (entry / "cmdline").read_bytes() else []
    return found


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the numbers of the calls are those of x86-64")
@needs_a_sandbox
def test_a_key_of_the_instructors_session_is_not_in_the_session_of_those_whom_grading_starts() -> None:
    """Each step in a process of its own: a session keyring is left for good."""
    planted = "import ctypes, subprocess, sys\nlibc = ctypes.CDLL(None)\nlibc.syscall(250, 1, None)\n"
    planted += "assert libc.syscall(248, b'user', b'tito-secret', b'x', 1, -3) > 0, 'no keyrings here'\n"
    left = "from tito.grading.sandbox.system_calls import leave_session_keyring\nleave_session_keyring()\n"
    look = "print(libc.syscall(250, 10, -3, b'user', b'tito-secret', 0) > 0)\n"
    for before, found in (("", "True"), (left, "False")):
        done = subprocess.run(
            [sys.executable, "-c", planted + before + look], capture_output=True, text=True, check=True
        )
        assert done.stdout.strip() == found


@needs_a_sandbox
def test_a_machine_that_filters_no_system_calls_has_no_sandbox(monkeypatch: pytest.MonkeyPatch) -> None:
    said = b"OSError: [Errno 22] this kernel does not take a filter of system calls (seccomp)\n"
    monkeypatch.setattr(subprocess, "run", lambda *args, **kwargs: subprocess.CompletedProcess([], 1, b"", said))
    here = bubblewrap.protection()
    assert here.kind == "none" and here.reason == "this kernel does not take a filter of system calls (seccomp)"


def test_a_machine_that_is_not_linux_is_told_where_to_grade(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    here = bubblewrap.protection()
    assert here.kind == "none" and "Linux" in here.reason and "WSL 2" in here.fix


@needs_a_sandbox
def test_a_machine_without_bubblewrap_is_told_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda tool: "/usr/bin/apt-get" if tool == "apt-get" else None)
    here = bubblewrap.protection()
    assert here == bubblewrap.Protection("none", "bubblewrap is not installed", "sudo apt-get install bubblewrap")


def refuse(monkeypatch: pytest.MonkeyPatch) -> None:
    said = subprocess.CompletedProcess([], 1, b"", b"bwrap: setting up uid map: Permission denied\n")
    monkeypatch.setattr(subprocess, "run", lambda *args, **kwargs: said)


@needs_a_sandbox
def test_ubuntus_rule_is_named_with_its_fix(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    refuse(monkeypatch)
    monkeypatch.setattr(bubblewrap, "APPARMOR", tmp_path / "rule")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    (tmp_path / "rule").write_text("1\n", encoding="ascii")
    here = bubblewrap.protection()
    assert "AppArmor" in here.reason and "Permission denied" in here.reason
    assert "sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0" in here.fix


@needs_a_sandbox
def test_a_container_without_user_namespaces_is_told_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    refuse(monkeypatch)
    monkeypatch.setattr(bubblewrap, "APPARMOR", tmp_path / "no rule")
    here = bubblewrap.protection()
    assert here.kind == "none" and "Permission denied" in here.reason and "user namespaces" in here.fix


def test_a_user_who_is_not_root_needs_one_sandbox_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000, raising=False)
    command = bubblewrap.command(["python"], None)
    assert sum(part.endswith("bwrap") for part in command) == 1 and "--reuid" not in command
    assert command[-1] == "python" and "--disable-userns" in command


def test_of_a_package_its_own_files_and_what_the_module_names_are_given(course: Course) -> None:
    """And of the folder that is exported to only what makes it a package: the rest of it was exported."""
    for name in ("core/__init__.py", "core/data/digits.npz", "fast/__init__.py", "fast/a.py", "fast/b.py", "sums.py"):
        course.write(f"toy/{name}", "")
    course.change("modules/source/01_toy/module.toml", "title =", 'given = ["core", "fast/a.py"]\ntitle =')
    module = load_module(course.project, "01_toy")
    found = given.Given(course.project, module, [course.root / "toy/out/sums.py"])
    assert sorted(course.project.shown(file) for file in found.files) == [
        "toy/__init__.py",
        "toy/core/__init__.py",
        "toy/core/data/digits.npz",
        "toy/fast/a.py",
        "toy/sums.py",
    ]
    asked = ("toy", "toy.core", "toy.core.anything", "toy.out.sums", "toy.sums", "toy.fast", "toy.fast.b", "toy.no")
    assert [name for name in asked if not found.has(name)] == ["toy.fast", "toy.fast.b"]


def test_a_given_folder_that_is_not_there_is_refused_before_anybody_is_graded(course: Course, tmp_path: Path) -> None:
    course.change("modules/source/01_toy/module.toml", "title =", 'given = ["cor"]\ntitle =')
    (tmp_path / "handed in").mkdir()
    (tmp_path / "handed in" / "ada.py").write_text(course.read("modules/source/01_toy/toy_dev.py"), encoding="utf-8")
    said = course.tito("grade", "01_toy", str(tmp_path / "handed in"), "--out", str(tmp_path / "out"), "--unsafe")
    said.refuses("modules/source/01_toy/module.toml: given names 'cor', which toy/ does not hold")


def test_doctor_says_which_protection_there_is_where_one_grades(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def told(root: Path) -> list[str]:
        return [check.found for check in doctor.examine(root) if check.what == "grading"]

    monkeypatch.setattr(doctor, "PATIENCE", 0.0)  # the package is not what is asked here
    course_root = copy_toy(tmp_path)
    monkeypatch.setattr(bubblewrap, "protection", lambda: bubblewrap.Protection("none", "no bubblewrap", "install it"))
    assert told(course_root) == ["no sandbox for strangers' code: no bubblewrap; install it"]
    monkeypatch.setattr(bubblewrap, "protection", lambda: bubblewrap.Protection("sandbox"))
    assert told(course_root) == ["strangers' code runs in a sandbox (bubblewrap)"]
    shutil.rmtree(course_root / "tests/01_toy/hidden")
    assert told(course_root) == [], "with a student's edition nobody grades"
