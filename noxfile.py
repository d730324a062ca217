"""All checks by name: `nox -l` lists them, `nox -s lint tests` runs two, each in an environment of its own.

`nox --no-venv` runs in the environment that is there, as `.ci/run` does; it needs `pip install -e ".[test,peers,dev]"`.
"""

import os
import shutil
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import nox
from nox.virtualenv import PassthroughEnv

nox.options.sessions = ["lint", "types", "tests", "student", "e2e"]
MODULE = "17_quantization"
FUZZ_CASES = 5000  # random products of each of two processes
EXTRAS = "fast,test,peers,deploy,notebook,cluster,dev"
AARCH64 = ("qemu-aarch64", "aarch64-linux-gnu-gcc")


@dataclass(frozen=True)
class Place:
    """What is odd about a clone."""

    folder: str = "tinytorch"
    umask: int = 0o022
    ends: str = "lf"  # of lines; crlf as Windows has them where no .gitattributes is heeded


SURROUNDINGS = {
    "an odd folder": Place(folder="CS [2026] $x"),
    "umask 077": Place(umask=0o077),
    "a clone with CRLF": Place(ends="crlf"),
}


def prepare(session: nox.Session, extras: str = "test,peers,dev", *packages: str) -> None:
    """Install the course with these extras, unless the session has the environment of whoever called it."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # on a busy machine two BLAS threads mostly wait for each other
    if not isinstance(session.virtualenv, PassthroughEnv):
        session.install("-q", "-e", f".[{extras}]", *packages)


@nox.session
def lint(session: nox.Session) -> None:
    """Style, who imports whom, and the package as the notebooks export it."""
    prepare(session)
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("lint-imports", "--no-cache")
    session.run("tito", "export", MODULE, "--check")


@nox.session
def types(session: nox.Session) -> None:
    prepare(session)
    session.run("mypy")


@nox.session
def tests(session: nox.Session) -> None:
    """What README's second command runs; arguments go to pytest."""
    prepare(session)
    session.run("python", "-m", "pytest", "-q", "-n", "logical", *session.posargs)


@nox.session
def conformance(session: nox.Session) -> None:
    """The comparisons with other libraries, none of which may be missing."""
    prepare(session)
    session.run("python", "-m", "pytest", "-q", "tests/conformance", *session.posargs, env={"TITO_PEERS": "required"})
    session.run("python", "-m", "benchmarks.conformance")


@nox.session
def deployment(session: nox.Session) -> None:
    """Files for other engines, in these engines, none of which may be missing."""
    prepare(session, "test,micro,coreml,dev")
    env = {f"TITO_{name}": "required" for name in ("ENGINES", "MICRO", "COREML", "CC")}
    session.run("python", "-m", "pytest", "-q", "tests/deployment", *session.posargs, env=env)


@nox.session
def pytorch(session: nox.Session) -> None:
    """Models of PyTorch converted and back, by PyTorch itself: a large download, so every night and not in .ci/run.

    With --no-venv it is the PyTorch that is there, such as its build for CPUs alone, a tenth of the size.
    """
    prepare(session, "test,torch")
    tests = ("tests/core", "tests/library/test_page.py")
    session.run("python", "-m", "pytest", "-q", "-m", "torch", *tests, *session.posargs, env={"TITO_TORCH": "required"})
    session.run("python", "examples/pytorch_model.py")


@nox.session
def package(session: nox.Session) -> None:
    """The wheel and the source distribution: what they hold, and what an environment with the wheel alone can do."""
    prepare(session, "test,peers,dev")
    session.run("python", "-m", "pytest", "-q", "-m", "wheel", "tests/e2e", *session.posargs)


@nox.session
def student(session: nox.Session) -> None:
    """Export and test as a student does."""
    prepare(session, "fast")
    session.run("tito", "export", MODULE)
    session.run("tito", "test", MODULE)


@nox.session
def e2e(session: nox.Session) -> None:
    """A whole student: released, solved, mistaken, handed in."""
    prepare(session)
    session.run("python", "-m", "pytest", "-q", "-m", "e2e", "tests/e2e", *session.posargs)


@nox.session
def library(session: nox.Session) -> None:
    """Random calls of the library's public functions: 50 of each, or `nox -s library -- CASES`."""
    prepare(session)
    session.run("python", "-m", "tests.library.fuzz", "--cases", *(session.posargs or ["50"]), "--seed", "0")


@nox.session
def kernels(session: nox.Session) -> None:
    """Random products and convolutions on every kernel of this machine, and on NEON where there is an emulator.

    FUZZ_CASES products, or `nox -s kernels -- CASES`; and a tenth as many convolutions.
    """
    prepare(session)
    cases = int(session.posargs[0]) if session.posargs else FUZZ_CASES
    command = ("python", "tests/acceleration/fuzz.py", "--cases", str(cases), "--seed")
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda seed: session.run(*command, seed), ("0", "1")))
    session.run("python", "-m", "tests.acceleration.fuzz_convolutions", "--cases", str(cases // 10), "--seed", "0")
    if all(map(shutil.which, AARCH64)):
        session.run("python", "tests/acceleration/neon.py")
    else:
        session.log("the NEON kernels were not run: install qemu-user and gcc-aarch64-linux-gnu")


@nox.session
def benchmarks(session: nox.Session) -> None:
    """What people wait for."""
    prepare(session)
    session.run("python", "-m", "benchmarks.startup")


@nox.session(venv_backend="uv", python="3.11")
def minimums(session: nox.Session) -> None:
    """The lowest versions that the extras promise (but bench's PyTorch, which is gigabytes); arguments: tests."""
    session.install("-q", "--resolution", "lowest-direct", "-e", f".[{EXTRAS}]")
    session.run("python", "-m", "tests.platforms", "Python 3.11, lowest versions", *session.posargs)


@nox.session(venv_backend="uv", python="3.14")
def newest(session: nox.Session) -> None:
    """The newest versions of everything, with the types that NumPy has now; arguments: tests."""
    session.install("-q", "--upgrade", "-e", f".[{EXTRAS}]")
    session.run("mypy")
    session.run("python", "-m", "tests.platforms", "Python 3.14, newest versions", *session.posargs)


@nox.session(name="platform", python=["3.11", "3.12", "3.13", "3.14", "3.15"])
def platforms(session: nox.Session) -> None:
    """A row of docs/platforms.md for each Python that is installed; arguments: tests."""
    session.install("-q", "-e", ".[test]")
    session.run("python", "-m", "tests.platforms", f"Python {session.python}", *session.posargs)


@nox.session(venv_backend="none")
@nox.parametrize("name", list(SURROUNDINGS))
def surroundings(session: nox.Session, name: str) -> None:
    """A row of docs/platforms.md for an odd place and whoever runs this: a clone, a venv in it; arguments: tests."""
    where, table = SURROUNDINGS[name], Path("docs", "platforms.md").absolute()
    who = "an ordinary user" if getattr(os, "geteuid", lambda: 1)() else "root"
    with tempfile.TemporaryDirectory() as parent:
        Path(parent).chmod(0o755)
        clone = Path(parent, where.folder)
        before = os.umask(where.umask)
        try:
            session.run("git", "clone", "-q", "-n", ".", str(clone))
            (clone / ".git/info/attributes").write_text(f"* text=auto eol={where.ends}\n", encoding="utf-8")
            with session.chdir(clone):
                session.run("git", "checkout", "-q", "HEAD")
                session.run(sys.executable, "-m", "venv", ".venv")
                python = str(Path(".venv", "Scripts" if os.name == "nt" else "bin", "python").absolute())
                session.run(python, "-m", "pip", "install", "-q", "-e", ".[test]")
                row = ("-m", "tests.platforms", f"{name}, {who}", "--table", str(table))
                session.run(python, *row, *session.posargs)
        finally:
            os.umask(before)


@nox.session
def nightly(session: nox.Session) -> None:
    """Classes, kills, fresh environments, nbgrader and Gradescope: hours."""
    prepare(session, "test,peers,dev,notebook", "nbgrader")
    rounds = ("tests/tito/commands/test_portability.py", "tests/tito/grading/test_dask_pool.py")
    slow = ("tests/e2e", "tests/test_points.py", "tests/test_notebooks.py", *rounds)
    session.run("python", "-m", "pytest", "-m", "nightly", "-s", *slow, *session.posargs)
    session.run("python", "-m", "pytest", "-m", "nightly", "-n", "logical", "tests/tito/grading/test_attacks.py")
    env = {"TITO_CORTEX_M": "required"}
    session.run("python", "-m", "pytest", "-q", "-m", "cortex_m", "tests/deployment", env=env)


@nox.session
def browser(session: nox.Session) -> None:
    """The notebooks in JupyterLab and Chromium (Debian: `apt install chromium chromium-driver`)."""
    prepare(session, "test,peers,dev,notebook", "selenium")
    session.run("python", "-m", "pytest", "-m", "browser", "-s", "tests/e2e", *session.posargs)


@nox.session
def site(session: nox.Session) -> None:
    """The site, in build/site/html; then in Chromium, if asked: `nox -s site -- browser` (Debian: as for `browser`).

    Its pictures, of every page on a phone and on a desk, light and dark, lie in build/site/pictures.
    """
    prepare(session, "site", "selenium")
    session.run("python", "-m", "doctest", "website/doctests.py")
    session.run("python", "-m", "website")
    if "browser" in session.posargs:
        session.run("python", "-m", "website.browser", "--pictures", "build/site/pictures")
