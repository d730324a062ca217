"""What a student's process may ask of the kernel: what honest programs need, and nothing that others would notice."""

from __future__ import annotations

import ast
import ctypes
import errno
import os
import platform
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tito import processes
from tito.course.edition import Edition
from tito.course.module import load_module
from tito.course.project import Project
from tito.grading.sandbox import bubblewrap, layout, system_calls
from tito.grading.sandbox.client import Sandbox
from tito.testing.proxies import Student

from ...toy_course import ROOT

pytestmark = pytest.mark.sandbox
PROGRAMS = (Path(__file__).parent / "honest_programs.py").read_text(encoding="utf-8")
NAMES = [node.name for node in ast.parse(PROGRAMS).body if isinstance(node, ast.FunctionDef)]
CALLING = """
import ctypes, fcntl, mmap, os, socket, struct
LIBRARY = os.open(os.__file__, os.O_RDONLY)  # a file that every sandbox sees
def call(number, *arguments):
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    passed = [ctypes.c_char_p(one) if isinstance(one, bytes) else ctypes.c_long(one) for one in arguments]
    return ctypes.get_errno() if libc.syscall(ctypes.c_long(number), *passed) == -1 else 0
def lock(command):
    fcntl.fcntl(LIBRARY, command, struct.pack("hhqqi", fcntl.F_RDLCK, 0, 1234, 1, 0))
def watched_futex():
    libc = ctypes.CDLL(None)
    libc.mmap.restype = ctypes.c_void_p
    page = libc.mmap(None, ctypes.c_long(4096), mmap.PROT_READ, mmap.MAP_SHARED, LIBRARY, ctypes.c_long(0))
    return call(202, page, 1, 1)
def evaluated(expression):
    return eval(expression)
def code_of_32_bits():
    memory = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    memory.write(b"\\xb8\\x14\\x00\\x00\\x00\\xcd\\x80\\x48\\x98\\xc3")  # mov eax, 20 (getpid); int 0x80; cdqe; ret
    function = ctypes.CFUNCTYPE(ctypes.c_long)(ctypes.addressof(ctypes.c_char.from_buffer(memory)))
    return function()
"""


@pytest.fixture(scope="module")
def laid_out() -> Iterator[Path]:
    project = Project(ROOT)
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        layout.lay_out(project, Edition(project, load_module(project, "17_quantization")).package, Path(name))
        yield Path(name)


def opened(folder: Path, code: str) -> Iterator[Student]:
    sandbox = Sandbox(bubblewrap.start(folder))
    try:
        sandbox.load(bubblewrap.limits(60), {"written": [("cell", code, "")]})
        assert sandbox.unloaded == {}
        yield Student(sandbox.modules[0], "the cell")
    finally:
        sandbox.end("gone", "done")


@pytest.fixture(scope="module")
def honest(laid_out: Path) -> Iterator[Student]:
    yield from opened(laid_out, PROGRAMS)


@pytest.fixture(scope="module")
def asked(laid_out: Path) -> Iterator[Student]:
    yield from opened(laid_out, CALLING)


@pytest.mark.parametrize("name", NAMES)
def test_an_honest_program_runs(honest: Student, name: str) -> None:
    assert getattr(honest, name)() is True


# Of x86-64: a number and arguments with which the call would do something, or end in an error of its own.
REFUSED = {
    "keyctl": (250, 0, -3, 0), "add_key": (248, b"user", b"a", b"b", 1, -3),
    "request_key": (249, b"user", b"a", 0, 0), "memfd_create": (319, b"a", 0), "memfd_secret": (447, 0),
    "io_uring_setup": (425, 8, 0), "ptrace": (101, 0, 0, 0, 0), "process_vm_readv": (310, 1, 0, 0, 0, 0, 0),
    "process_vm_writev": (311, 1, 0, 0, 0, 0, 0), "kcmp": (312, 1, 1, 0, 0, 0), "userfaultfd": (323, 1),
    "bpf": (321, 0, 0, 0), "perf_event_open": (298, 0, 0, -1, -1, 0), "unshare": (272, 0), "setns": (308, 0, 0),
    "mount": (165, 0, 0, 0, 0, 0), "umount2": (166, b"/tmp", 0), "open_tree": (428, -100, b"/", 1),
    "move_mount": (429, 0, 0, 0, 0, 0), "fsopen": (430, b"tmpfs", 0), "mount_setattr": (442, -1, b"", 0, 0, 0),
    "pivot_root": (155, b"/", b"/"), "chroot": (161, b"/tmp"), "kexec_load": (246, 0, 0, 0, 0),
    "init_module": (175, 0, 0, 0), "finit_module": (313, 0, 0, 0), "swapon": (167, b"/tmp", 0), "acct": (163, 0),
    "mq_open": (240, b"a", 64, 0o600, 0), "shmget": (29, 0, 4096, 0o1600), "msgget": (68, 0, 0o1600),
    "semget": (64, 0, 1, 0o1600), "name_to_handle_at": (303, -100, b"/", 0, 0, 0),
    "open_by_handle_at": (304, -100, 0, 0), "personality": (135, 0xFFFFFFFF), "quotactl": (179, 0, 0, 0, 0),
    "pidfd_open": (434, 1, 0), "pidfd_getfd": (438, 0, 0, 0), "inotify_init1": (294, 0), "fanotify_init": (300, 0, 0),
    "sysinfo": (99, 0), "mincore": (27, 0, 0, 0), "cachestat": (451, 0, 0, 0, 0), "preadv2": (327, 0, 0, 0, 0, 0, 8),
    "fadvise64": (221, 0, 0, 0, 4), "readahead": (187, 0, 0, 1), "utimensat": (280, -100, b"/dev/null", 0, 0),
    "utime": (132, b"/dev/null", 0), "setpriority": (141, 0, 0, 5), "sched_setscheduler": (144, 0, 0, 0),
    "sched_setaffinity": (203, 0, 8, 0), "ioprio_set": (251, 1, 0, 0), "timer_create": (222, 0, 0, 0),
    "setxattr": (188, b"/tmp", b"user.a", b"b", 1, 0), "sendmsg": (46, 0, 0, 0), "recvmsg": (47, 0, 0, 0),
    "bind": (49, 0, 0, 0), "seccomp": (317, 0, 0, 0), "landlock": (444, 0, 0, 1), "futex_wake": (454, 0, 1, 1, 0),
    "clone3": (435, 0, 0), "mlock": (149, 0, 0), "vmsplice": (278, 0, 0, 0, 0), "tee": (276, 0, 0, 0, 0),
    "a call of x32": (0x40000000 + 39,), "a call of tomorrow": (999,),
}  # fmt: skip


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the numbers are those of x86-64")
@pytest.mark.parametrize("call", REFUSED)
def test_a_call_that_no_honest_program_needs_is_as_if_the_kernel_had_none(asked: Student, call: str) -> None:
    assert asked.call(*REFUSED[call]) == errno.ENOSYS


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the instruction is one of x86-64")
def test_calls_of_32_bits_are_refused(asked: Student) -> None:
    assert asked.code_of_32_bits() == -errno.ENOSYS


@pytest.mark.parametrize("command", ["F_SETLK", "F_SETLKW", "F_GETLK", "F_OFD_SETLK", "F_OFD_GETLK"])
def test_a_lock_on_a_file_that_all_sandboxes_see_is_refused(asked: Student, command: str) -> None:
    import fcntl

    with pytest.raises(OSError) as caught:
        asked.lock(getattr(fcntl, command, 36))  # OFD locks have names since Python 3.9
    assert caught.value.errno == errno.ENOLCK


@pytest.mark.parametrize(
    ("tried", "error"),
    [
        ("fcntl.flock(LIBRARY, fcntl.LOCK_SH)", errno.ENOLCK),
        ("fcntl.fcntl(LIBRARY, 1024, fcntl.F_RDLCK)", errno.ENOLCK),  # F_SETLEASE
        ("fcntl.fcntl(LIBRARY, 1026, 1)", errno.ENOLCK),  # F_NOTIFY
        ("fcntl.fcntl(os.pipe()[1], 1031, 1 << 20)", errno.ENOLCK),  # F_SETPIPE_SZ counts for all of one user
        ("fcntl.ioctl(LIBRARY, 0x5412, b'x')", errno.ENOTTY),  # TIOCSTI
        ("fcntl.ioctl(LIBRARY, 0x80086601, bytearray(8))", errno.ENOTTY),  # FS_IOC_GETFLAGS
        ("mmap.mmap(LIBRARY, 4096, prot=mmap.PROT_READ).madvise(21)", errno.EINVAL),  # MADV_PAGEOUT
        ("socket.socket()", errno.EACCES),
        ("socket.socketpair(socket.AF_INET)", errno.EAFNOSUPPORT),
        ("os.execv('/x', ['x'])", errno.EPERM),
        ("os.fork()", errno.EPERM),
        ("os.utime('/dev/null')", errno.ENOSYS),
    ],
)
def test_what_another_sandbox_could_notice_is_refused(asked: Student, tried: str, error: int) -> None:
    with pytest.raises(OSError) as caught:
        asked.evaluated(tried)
    assert caught.value.errno == error


def test_a_futex_in_a_file_that_all_sandboxes_see_wakes_nobody(asked: Student) -> None:
    assert asked.watched_futex() == errno.EINVAL


@pytest.mark.parametrize("option", [1, 4, 22, 38, 35, 59], ids=str)  # PR_SET_PDEATHSIG is 1
def test_a_process_does_not_change_how_it_is_held(asked: Student, option: int) -> None:
    assert asked.evaluated(f"ctypes.CDLL(None, use_errno=True).prctl({option}, 0, 0, 0, 0)") == -1


def test_a_machine_whose_calls_are_not_known_has_no_filter() -> None:
    with pytest.raises(OSError, match="not known"):
        [*system_calls._filter("vax")]


@pytest.mark.parametrize("machine", system_calls.MACHINES)
def test_a_filter_is_whole_and_names_every_call_once(machine: str) -> None:
    steps = [*system_calls._filter(machine)]
    column = [*system_calls.MACHINES].index(machine)
    listed = [*system_calls.ALLOWED.values(), *(call.numbers for call in system_calls.PARTLY.values())]
    listed += [numbers for numbers, _ in system_calls.FORBIDDEN.values()]
    numbers = [numbers[column] for numbers in listed if numbers[column] is not None]
    assert len(set(numbers)) == len(numbers) and len(steps) < 4096
    assert all(0 <= skip < 256 for step in steps for skip in step[1:3])
    assert steps[-1][0] == system_calls.ANSWER, "the last word is an answer"


def test_a_sandbox_that_is_ended_leaves_no_zombie(laid_out: Path) -> None:
    """Its orphans come to this process, as in a container they come to one that may never look after them."""
    libc, subreaper = ctypes.CDLL(None), 36
    assert libc.prctl(subreaper, 1, 0, 0, 0) == 0
    try:
        before = {*processes.descendants(os.getpid())}
        for _ in range(3):
            sandbox = Sandbox(bubblewrap.start(laid_out))
            sandbox.load(bubblewrap.limits(60), {"written": [("cell", "", "")]})
            sandbox.end("gone", "done")
        until = time.monotonic() + 10  # on a busy machine the last of them is a moment behind; a zombie stays
        while {*processes.descendants(os.getpid())} - before and time.monotonic() < until:
            time.sleep(0.05)
        assert {*processes.descendants(os.getpid())} <= before
    finally:
        libc.prctl(subreaper, 0, 0, 0, 0)
