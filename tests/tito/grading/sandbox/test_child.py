"""The process that runs a student's cells, without its sandbox: how it loads them, answers, says what went wrong."""

from __future__ import annotations

import gc
import queue
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol

import numpy as np
import pytest

from tito.course import exporting
from tito.course.edition import Edition
from tito.course.given import Given
from tito.course.module import load_module
from tito.course.project import Project
from tito.grading.judging.judge import with_cells
from tito.grading.sandbox import bubblewrap, child, layout
from tito.grading.sandbox.client import Sandbox, SandboxLost
from tito.testing.proxies import Student, may_change

from ...toy_course import ROOT, copy_toy, frames_of

Cells = dict[str, list[tuple[str, str, str]]]


class Started(Protocol):
    """What the fixture `started` is."""

    def __call__(self, modules: Cells, limits: dict[str, int] | None = None) -> AbstractContextManager[Sandbox]: ...


class Opened(Protocol):
    """What the fixture `opened` is."""

    def __call__(
        self, *cells: str, given: str = "", limits: dict[str, int] | None = None
    ) -> AbstractContextManager[Sandbox]: ...


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Started:
    """A process with the cells of these modules loaded."""
    return starting(Project(copy_toy(tmp_path_factory.mktemp("toy"))), tmp_path_factory.mktemp("laid out"))


@pytest.fixture(scope="module")
def started_beside_a_file(tmp_path_factory: pytest.TempPathFactory) -> Started:
    """The same in a package with a file by hand, which is imported first and imports `double`."""
    project = Project(copy_toy(tmp_path_factory.mktemp("toy")))
    (project.package / "by_hand.py").write_text("from toy.sums import double\n", encoding="utf-8")
    (project.package / "__init__.py").write_text("from . import by_hand\n", encoding="utf-8")
    return starting(project, tmp_path_factory.mktemp("laid out"))


def starting(project: Project, folder: Path) -> Started:
    layout.lay_out(project, Given(project, load_module(project, "01_toy"), [project.package / "sums.py"]), folder)

    @contextmanager
    def started(modules: Cells, limits: dict[str, int] | None = None) -> Iterator[Sandbox]:
        sandbox = Sandbox(bubblewrap.start(folder, unsafe=True))
        try:
            sandbox.load(limits or {}, modules)
            yield sandbox
        finally:
            sandbox.end("gone", "done")

    return started


@pytest.fixture(scope="module")
def opened(started: Started) -> Opened:
    """A process with these cells of the module `toy.sums` loaded."""

    def opened(*cells: str, given: str = "", limits: dict[str, int] | None = None) -> AbstractContextManager[Sandbox]:
        modules = {"toy.sums": [(f"cell {number}", source, given) for number, source in enumerate(cells)]}
        return started(modules, limits)

    return opened


def student(opened_sandbox: Sandbox) -> Student:
    return Student(opened_sandbox.modules[0], "toy")


CODE = """
import numpy as np
class Odd(ValueError): pass
class Box:
    size = 3
    def __init__(self, x): self.x = x
    def twice(self, y=1): return 2 * y
    @classmethod
    def of(cls, x): return cls(x)
    @property
    def broken(self): raise Odd("no such size")
def same(x): return x
def facts(x): return x.dtype.str, x.shape, x.strides, x.flags.writeable
def spoil(x): x[...] = 7
def spoil_box(box): box.x[...] = 7
def spoil_and_fail(x): spoil(x); raise Odd("spoilt")
def raising(name, *args): raise getattr(__import__("builtins"), name)(*args)
def apply(function, x): return function(x)
def kept(): return Box(1)
def drawn(): return np.random.rand(), __import__("random").random(), hash("text")
"""


@pytest.fixture(scope="module")
def judged(opened: Opened) -> Iterator[Student]:
    with opened(CODE) as sandbox:
        yield student(sandbox)


def test_an_argument_is_seen_with_its_layout(judged: Student) -> None:
    for array in (np.arange(12, dtype=">i4").reshape(3, 4)[::2, ::-1], np.broadcast_to(1.0, (2, 3)), np.array(2.5)):
        assert judged.facts(array) == (array.dtype.str, array.shape, array.strides, array.flags.writeable)


def test_who_changes_an_argument_has_failed_and_the_test_keeps_what_it_had(judged: Student) -> None:
    array, frozen = np.zeros((4, 4))[::2], np.zeros(3)
    frozen.flags.writeable = False
    with pytest.raises(AssertionError, match="spoil changed its argument x") as caught:
        judged.spoil(array)
    (place,) = frames_of(caught.value)
    assert place == ("cell 0", CODE.split("\n").index("def spoil(x): x[...] = 7") + 1)
    with pytest.raises(ValueError, match="spoilt"):
        judged.spoil_and_fail(array)
    with pytest.raises(ValueError, match="read-only"):
        judged.spoil(frozen)
    assert (array == 0).all()


def test_a_call_may_change_what_the_test_says(judged: Student) -> None:
    box = judged.Box(np.zeros(3))
    with pytest.raises(AssertionError, match="spoil_box changed its argument box"):
        judged.spoil_box(box)
    assert (box.x == 0).all()
    judged.spoil_box(may_change(box))
    assert (box.x == 7).all()


def test_an_exception_is_the_nearest_builtin_one_with_its_place(judged: Student) -> None:
    with pytest.raises(ValueError, match="no such size") as caught:
        _ = judged.Box(1).broken
    assert type(caught.value) is ValueError and frames_of(caught.value)[-1] == ("cell 0", 11)


@pytest.mark.parametrize(
    ("name", "args"),
    [("KeyError", ("a",)), ("OSError", (2, "no file")), ("SystemExit", (3,)), ("RecursionError", ("deep",))],
)
def test_an_exception_is_made_of_what_it_was_made_of(
    judged: Student, name: str, args: tuple[int | str, ...] | tuple[int, ...] | tuple[str, ...]
) -> None:
    with pytest.raises(BaseException) as caught:
        judged.raising(name, *args)
    assert isinstance(caught.value, getattr(__import__("builtins"), name)) and caught.value.args == args


@pytest.mark.parametrize("name", ["KeyboardInterrupt", "GeneratorExit"])
def test_an_exception_that_would_end_the_judge_is_told_as_another(judged: Student, name: str) -> None:
    with pytest.raises(RuntimeError, match=name):
        judged.raising(name)


def test_a_method_is_found_on_its_object_however_long_that_is_held(judged: Student) -> None:
    method = judged.Box.of(5).twice
    gc.collect()
    assert method(y=4) == 8 and judged.apply(method, 3) == 6
    with pytest.raises(AttributeError, match="nothing"):
        _ = judged.kept().nothing


COUNT = "import gc\ndef count():\n    gc.collect()\n    return sum(type(o) is Box for o in gc.get_objects())\n"


def test_handles_that_other_threads_let_go_are_counted_right(opened: Opened) -> None:
    """Python lets an object go in whichever thread holds it last, in the middle of anything."""
    with opened(CODE + COUNT) as sandbox:
        judged, handles = student(sandbox), queue.SimpleQueue[object]()

        def let_go() -> None:
            while handles.get() is not None:
                pass

        threads = [threading.Thread(target=let_go) for _ in range(4)]
        for thread in threads:
            thread.start()
        shared = judged.kept()
        for _ in range(500):
            handles.put(judged.kept())
            handles.put(judged.same(shared))
            assert judged.apply(shared.twice, 1) == 2
        for _ in threads:
            handles.put(None)
        for thread in threads:
            thread.join()
        judged.same(1)
        assert judged.count() == 1 and judged.same(shared) == shared
        del shared
        judged.same(1)
        assert judged.count() == 0


def test_an_object_has_one_handle_and_is_let_go(opened: Opened) -> None:
    with opened(CODE + COUNT) as sandbox:
        judged = student(sandbox)
        first = judged.kept()
        assert judged.same(first) == first and judged.kept() != first and judged.same([first]) == [first]
        held = judged.count()
        del first
        gc.collect()
        judged.same(1)
        assert (held, judged.count()) == (1, 0)


def test_what_the_code_draws_is_the_same_every_time(opened: Opened) -> None:
    drawn = []
    for _ in range(2):
        with opened(CODE) as sandbox:
            drawn.append(student(sandbox).drawn())
    assert drawn[0] == drawn[1]


def test_a_cell_that_fails_gives_way_to_what_is_given(opened: Opened) -> None:
    with opened("x = 1", "x = 2\n1 / 0", "y = x", given="x = 3") as sandbox:
        assert student(sandbox).x == 3 and student(sandbox).y == 3
        failure = sandbox.unloaded["cell 1"]
    assert (failure.type, failure.frames[-1]) == ("ZeroDivisionError", ("cell 1", 2))


def test_what_a_cell_imports_from_the_future_holds_for_the_next(opened: Opened) -> None:
    with opened("from __future__ import annotations", "def f(x: Unknown): return x") as sandbox:
        assert student(sandbox).f(1) == 1 and sandbox.unloaded == {}


def test_an_import_by_name_finds_the_students_own_module(opened: Opened) -> None:
    with opened("x = 1", "def found():\n    import toy.sums\n    return toy.sums.x") as sandbox:
        assert student(sandbox).found() == 1


def test_a_process_that_ends_is_lost_and_says_in_which_cell(opened: Opened) -> None:
    with pytest.raises(SandboxLost), opened("x = 1", "import os\nos._exit(1)", "y = 1"):
        pass
    with opened("import os\ndef end(): os._exit(1)") as sandbox:
        with pytest.raises(SandboxLost):
            student(sandbox).end()
        assert sandbox.why == "gone"
        with pytest.raises(SandboxLost):
            student(sandbox).end()


def test_methods_are_those_that_def_defines() -> None:
    class Base:
        def inherited(self) -> None: ...

        @property
        def size(self) -> int:
            return 1

    class Derived(Base):
        inherited_too = Base.inherited
        number = 3

        @staticmethod
        def free() -> None: ...

    assert set(child._methods(Derived, type(lambda: 0))) == {"inherited", "inherited_too"}
    assert set(child._methods(Derived, classmethod | staticmethod)) >= {"free"}


def test_an_exception_that_cannot_be_shown_is_told_as_such() -> None:
    class Silent(Exception):
        def __str__(self) -> str:
            raise SystemExit

    told = child.failure(Silent())
    assert told[0] in ("Exception", "RuntimeError") and "cannot be shown" in told[2]


@pytest.mark.sandbox  # where there is one, the kernel has the filter too
def test_the_kernel_refuses_processes_and_lets_threads_start(opened: Opened) -> None:
    code = "import ctypes, os, threading\n"
    code += "def fork():\n    got = ctypes.CDLL(None).fork()\n    return got if got else os._exit(0)\n"
    code += "def thread():\n    t = threading.Thread(target=int)\n    t.start()\n    t.join()\n    return 'ended'\n"
    with opened(code, limits=bubblewrap.limits(20)) as sandbox:
        assert student(sandbox).thread() == "ended"
        assert student(sandbox).fork() == -1


def test_a_line_of_a_later_cell_is_told_of_that_cell(opened: Opened) -> None:
    with opened("x = 1\n\n\n", "y = 2", "\ndef f():\n    return 1 / 0") as sandbox:
        with pytest.raises(ZeroDivisionError) as caught:
            student(sandbox).f()
        assert frames_of(caught.value)[-1] == ("cell 2", 3)


def test_a_package_that_lies_beside_numpy_is_not_found(opened: Opened) -> None:
    with opened("from importlib.util import find_spec\ndef found(name): return find_spec(name) is not None") as sandbox:
        assert student(sandbox).found("numpy") and student(sandbox).found("toy")
        assert not student(sandbox).found("pytest") and not student(sandbox).found("jupytext")


@pytest.mark.parametrize(
    "source",
    [
        "def f(): ...\nasync def g(): ...\nclass C: ...\ndef _hidden(): ...",
        "a = b = c = 1\n(d, e), f = (1, 2), 3\n[g, *h] = 1, 2\nx[0] = y.z = 1\n_p: int = 1\nq: int = 2\nr += 1",
        "import os\nfrom sys import path as p\nif True:\n    inner = 1\nfor k in (): pass",
        "_all_ = ['_private', 'word', other]\n_private = other = word = 1",
        "@patch\ndef f(self: C): ...\n@patch_to(C)\ndef g(self): ...\n@cache\ndef h(): ...",
        "",
    ],
)
def test_all_holds_what_nbdev_would_export(source: str) -> None:
    assert set(child.exported(source)) == set(exporting._nbdev([source])[2])


def test_all_in_grading_is_the_all_of_the_exported_files() -> None:
    project = Project(ROOT)
    module = load_module(project, "17_quantization")
    edition = Edition(project, module)
    graded = with_cells(edition, edition.reference)
    for made in exporting.make(project, module):
        name = ".".join(made.target.relative_to(project.root).with_suffix("").parts)
        names = [name for cell in graded[name] for name in child.exported(cell.source)]
        assert tuple(dict.fromkeys(names)) == made.names


def test_a_broken_cell_gives_all_the_names_that_were_given(opened: Opened) -> None:
    with opened("def good(): return __all__", "def broken(:", given="def given(): ...") as sandbox:
        assert student(sandbox).good() == ["good", "given"]


@pytest.mark.parametrize(
    ("mine", "needs", "told"),
    [
        ("def my_double(x): return 2 * x", "from toy.sums import double, half", "double"),
        ("def double(x): return 2 * x", "import toy.sums as sums\nagain = sums.Base", "Base"),
        ("def double(x): return 2 * x\ndel double", "from toy.sums import double", "double"),
        ("half = 1", "from toy.sums import (\n    SIZE,\n    half,\n)", "SIZE"),
    ],
    ids=["renamed", "a class", "deleted again", "a constant"],
)
def test_what_given_code_needs_and_nobody_defines_is_as_it_was_given_and_told_of_its_cell(
    started: Started, mine: str, needs: str, told: str
) -> None:
    """Of what it does not need nothing is told: a helper of the reference's may be missing."""
    given = "SIZE: int = 3\nclass Base: pass\ndef double(x): raise NotImplementedError"
    half = "def half(x): return x / 2"
    first = [("mine", mine, given), ("half", half, half)]
    with started({"toy.sums": first, "toy.more": [("given", needs, needs)]}) as sandbox:
        assert sandbox.unloaded.pop("mine").text == f"the notebook defines no `{told}`: was its name changed?"
        assert not sandbox.unloaded and sandbox.modules, "the cell that needs it is loaded as it stands"
        assert student(sandbox).half(3) == 1.5, "what others wrote stays"


def test_a_name_that_nothing_needs_may_be_missing(started: Started) -> None:
    needs = "from toy.sums import double"
    cells = [("mine", "def double(x): return 2 * x", "def _half(x): ...\ndef double(x): ...")]
    with started({"toy.sums": cells, "toy.more": [("given", needs, needs)]}) as sandbox:
        assert not sandbox.unloaded and student(sandbox).double(3) == 6


@pytest.mark.parametrize(
    "mine", ["def my_double(x): return 2 * x", "import no_such_package\ndef double(x): return 2 * x"]
)
def test_a_file_written_by_hand_finds_what_was_given_where_the_notebook_does_not_define_it(
    started_beside_a_file: Started, mine: str
) -> None:
    """Else the file, and with it every exercise, could not be loaded, and whoever came last would be blamed."""
    given, half = "def helper(x): ...", "def half(x): return x / 2"
    cells = [("mine", mine, given), ("mine, too", "", "def double(x): raise NotImplementedError"), ("half", half, half)]
    with started_beside_a_file({"toy.sums": cells}) as sandbox:
        assert sandbox.unloaded.pop("mine, too").text == "the notebook defines no `double`: was its name changed?"
        assert student(sandbox).half(3) == 1.5, "what others wrote stays"
        with pytest.raises(AttributeError):
            student(sandbox).no_such_name  # noqa: B018
