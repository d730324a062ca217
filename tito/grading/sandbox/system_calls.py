"""The system calls that a student's process may make: a list, and the seccomp filter that refuses all others.

Python, NumPy and threads need what stands here, and no more. The rest of the kernel is shared with the sandboxes beside
it and with the grader, and a student's code has no business there: processes, sockets, keyrings, file locks, watches on
files, other limits and priorities, memory that outlives its process, and whatever a later kernel adds. A call that is
not on the list is answered with an error, as by a kernel that does not have it, so that a program meets an OSError.
"""

from __future__ import annotations

import ctypes
import errno
import platform
import struct
import sys
from collections.abc import Iterator
from dataclasses import dataclass

MACHINES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}  # as a filter knows them, in the order of the columns below
Numbers = tuple[int, int | None]  # of a call on each machine; None where it does not have it

# fmt: off
FILES: dict[str, Numbers] = {
    "read": (0, 63), "write": (1, 64), "readv": (19, 65), "writev": (20, 66), "pread64": (17, 67), "pwrite64": (18, 68),
    "preadv": (295, 69), "pwritev": (296, 70), "lseek": (8, 62), "open": (2, None), "openat": (257, 56),
    "close": (3, 57), "close_range": (436, 436), "stat": (4, None), "lstat": (6, None), "fstat": (5, 80),
    "newfstatat": (262, 79), "statx": (332, 291), "statfs": (137, 43), "fstatfs": (138, 44), "access": (21, None),
    "faccessat": (269, 48), "faccessat2": (439, 439), "readlink": (89, None), "readlinkat": (267, 78),
    "getdents": (78, None), "getdents64": (217, 61), "getcwd": (79, 17), "chdir": (80, 49), "fchdir": (81, 50),
    "mkdir": (83, None), "mkdirat": (258, 34), "rmdir": (84, None), "unlink": (87, None), "unlinkat": (263, 35),
    "rename": (82, None), "renameat": (264, 38), "renameat2": (316, 276), "link": (86, None), "linkat": (265, 37),
    "symlink": (88, None), "symlinkat": (266, 36), "chmod": (90, None), "fchmod": (91, 52), "fchmodat": (268, 53),
    "umask": (95, 166), "truncate": (76, 45), "ftruncate": (77, 46), "fallocate": (285, 47), "fsync": (74, 82),
    "fdatasync": (75, 83), "sendfile": (40, 71), "copy_file_range": (326, 285), "dup": (32, 23), "dup2": (33, None),
    "dup3": (292, 24), "pipe": (22, None), "pipe2": (293, 59), "getxattr": (191, 8), "lgetxattr": (192, 9),
    "fgetxattr": (193, 10), "listxattr": (194, 11), "llistxattr": (195, 12), "flistxattr": (196, 13),
}
MEMORY: dict[str, Numbers] = {
    "mmap": (9, 222), "munmap": (11, 215), "mprotect": (10, 226), "mremap": (25, 216), "brk": (12, 214),
    "msync": (26, 227),
}
THREADS_AND_TIME: dict[str, Numbers] = {
    "set_robust_list": (273, 99), "rseq": (334, 293), "gettid": (186, 178), "sched_yield": (24, 124),
    "sched_getaffinity": (204, 123), "exit": (60, 93), "exit_group": (231, 94), "clock_gettime": (228, 113),
    "clock_getres": (229, 114), "clock_nanosleep": (230, 115), "nanosleep": (35, 101), "gettimeofday": (96, 169),
    "time": (201, None), "times": (100, 153), "getrusage": (98, 165), "getitimer": (36, 102), "setitimer": (38, 103),
    "alarm": (37, None),
}
SIGNALS_AND_WAITING: dict[str, Numbers] = {
    "rt_sigaction": (13, 134), "rt_sigprocmask": (14, 135), "rt_sigreturn": (15, 139), "rt_sigpending": (127, 136),
    "rt_sigsuspend": (130, 133), "rt_sigtimedwait": (128, 137), "sigaltstack": (131, 132),
    "restart_syscall": (219, 128), "pause": (34, None), "kill": (62, 129), "tgkill": (234, 131), "poll": (7, None),
    "ppoll": (271, 73), "select": (23, None), "pselect6": (270, 72), "epoll_create1": (291, 20), "epoll_ctl": (233, 21),
    "epoll_wait": (232, None), "epoll_pwait": (281, 22), "epoll_pwait2": (441, 441), "sendto": (44, 206),
    "recvfrom": (45, 207), "shutdown": (48, 210), "getsockname": (51, 204),
}
FACTS: dict[str, Numbers] = {
    "getpid": (39, 172), "getppid": (110, 173), "getpgid": (121, 155), "getpgrp": (111, None), "getsid": (124, 156),
    "getuid": (102, 174), "geteuid": (107, 175), "getgid": (104, 176), "getegid": (108, 177), "getresuid": (118, 148),
    "getresgid": (120, 150), "getgroups": (115, 158), "getpriority": (140, 141), "getrlimit": (97, 163),
    "prlimit64": (302, 261), "uname": (63, 160), "getrandom": (318, 278),
}
# fmt: on
ALLOWED = FILES | MEMORY | THREADS_AND_TIME | SIGNALS_AND_WAITING | FACTS


@dataclass(frozen=True)
class OnlyWith:
    """A call that is allowed where one of its arguments is one of these values, or holds one of these bits."""

    numbers: Numbers
    argument: int
    values: tuple[int, ...]
    otherwise: int  # the error that it ends with else
    are_bits: bool = False


CLONE_THREAD, FUTEX_PRIVATE, AF_UNIX = 0x10000, 0x80, 1
DUPLICATE = (0, 1030)  # F_DUPFD, F_DUPFD_CLOEXEC
OWN_FLAGS = (1, 2, 3, 4)  # F_GETFD, F_SETFD, F_GETFL, F_SETFL
IS_TERMINAL = (0x5401, 0x802C542A, 0x5413)  # TCGETS, TCGETS2, TIOCGWINSZ
OWN_STREAM = (0x5421, 0x5450, 0x5451, 0x541B)  # FIONBIO, FIONCLEX, FIOCLEX, FIONREAD
ADVICE = (0, 1, 2, 3, 4, 8, 14, 15, 16, 17, 102)  # of one's own memory; none that drops or merges what others share
NAME_OF_THREAD = (15, 16)  # PR_SET_NAME, PR_GET_NAME
PARTLY = {
    "clone": OnlyWith((56, 220), 0, (CLONE_THREAD,), errno.EPERM, are_bits=True),
    # Two processes that map one file could wake one another. The C library waits anew where it is told EINVAL.
    "futex": OnlyWith((202, 98), 1, (FUTEX_PRIVATE,), errno.EINVAL, are_bits=True),
    "fcntl": OnlyWith((72, 25), 1, DUPLICATE + OWN_FLAGS, errno.ENOLCK),  # no locks, leases and notes
    "ioctl": OnlyWith((16, 29), 1, IS_TERMINAL + OWN_STREAM, errno.ENOTTY),
    "madvise": OnlyWith((28, 233), 2, ADVICE, errno.EINVAL),
    "prctl": OnlyWith((157, 167), 0, NAME_OF_THREAD, errno.EINVAL),
    "socketpair": OnlyWith((53, 199), 0, (AF_UNIX,), errno.EAFNOSUPPORT),  # asyncio wakes itself through one
}
# Refused as by a kernel that has the call. A filter cannot read the flags of clone3, which lie in memory: told that it
# is missing, as everything is that stands nowhere here, the C library uses clone.
FORBIDDEN: dict[str, tuple[Numbers, int]] = {
    "fork": ((57, None), errno.EPERM),
    "vfork": ((58, None), errno.EPERM),
    "execve": ((59, 221), errno.EPERM),
    "execveat": ((322, 281), errno.EPERM),
    "socket": ((41, 198), errno.EACCES),
    "flock": ((73, 32), errno.ENOLCK),
}

LOAD, EQUAL, AT_LEAST, ANY_BIT, ANSWER = 0x20, 0x15, 0x35, 0x45, 0x06  # instructions of a filter
NUMBER_AT, MACHINE_AT, ARGUMENTS_AT = 0, 4, 16  # where a filter finds the call, the machine, the call's arguments
REFUSE, ALLOW = 0x00050000, 0x7FFF0000  # what a filter answers; REFUSE carries an errno
OTHER_NUMBERS = 0x40000000  # from here on x86-64 numbers its calls anew
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, FILTER = 38, 22, 2
KEYCTL: Numbers = (250, 219)
JOIN_SESSION_KEYRING = 1
Step = tuple[int, int, int, int]  # instruction, steps to skip where it holds, and where not, value


def confine() -> None:
    """Have the kernel refuse this process, and all its threads to come, what is not on the list. Raises OSError.

    There is no way back. Called while there is one thread.
    """
    steps = [*_filter(platform.machine())]
    code = ctypes.create_string_buffer(b"".join(struct.pack("<HBBI", *step) for step in steps))
    program = ctypes.create_string_buffer(struct.pack("<HxxxxxxQ", len(steps), ctypes.addressof(code)))
    prctl, zero = ctypes.CDLL(None, use_errno=True).prctl, ctypes.c_ulong(0)
    if prctl(PR_SET_NO_NEW_PRIVS, ctypes.c_ulong(1), zero, zero, zero):
        raise OSError(ctypes.get_errno(), "this kernel cannot filter system calls: it lets a process gain privileges")
    if prctl(PR_SET_SECCOMP, ctypes.c_ulong(FILTER), program, zero, zero):
        raise OSError(ctypes.get_errno(), "this kernel does not take a filter of system calls (seccomp)")


def _filter(machine: str) -> Iterator[Step]:
    """The filter, step by step. The calls of another machine, such as those of 32 bits, are not on the list either."""
    if machine not in MACHINES or sys.byteorder != "little" or sys.maxsize < 1 << 32:
        raise OSError(errno.ENOSYS, f"the system calls of this machine are not known ({machine})")
    column = [*MACHINES].index(machine)
    yield from [(LOAD, 0, 0, MACHINE_AT), (EQUAL, 1, 0, MACHINES[machine]), (ANSWER, 0, 0, REFUSE | errno.ENOSYS)]
    yield from [(LOAD, 0, 0, NUMBER_AT), (AT_LEAST, 0, 1, OTHER_NUMBERS), (ANSWER, 0, 0, REFUSE | errno.ENOSYS)]
    for call in PARTLY.values():
        checked = [*_checked(call)]
        yield from [(EQUAL, 0, len(checked), call.numbers[column] or 0), *checked]
    answers = [(numbers, ALLOW) for numbers in ALLOWED.values()]
    answers += [(numbers, REFUSE | error) for numbers, error in FORBIDDEN.values()]
    for numbers, answer in answers:
        number = numbers[column]
        if number is not None:
            yield from [(EQUAL, 0, 1, number), (ANSWER, 0, 0, answer)]
    yield ANSWER, 0, 0, REFUSE | errno.ENOSYS


def _checked(call: OnlyWith) -> Iterator[Step]:
    """Its answer, by its argument: of the eight bytes the kernel reads the lower four."""
    yield LOAD, 0, 0, ARGUMENTS_AT + 8 * call.argument
    for value in call.values:
        yield from [(ANY_BIT if call.are_bits else EQUAL, 0, 1, value), (ANSWER, 0, 0, ALLOW)]
    yield ANSWER, 0, 0, REFUSE | call.otherwise


def leave_session_keyring() -> None:
    """Give this process, and all that it starts, an empty session keyring in the place of the login's with its keys."""
    if sys.platform == "linux" and platform.machine() in MACHINES:
        number = KEYCTL[[*MACHINES].index(platform.machine())]
        ctypes.CDLL(None).syscall(number, JOIN_SESSION_KEYRING, None)  # where a kernel has no keyrings it fails
