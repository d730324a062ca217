"""Submissions that are damaged, or were made to do damage, generated from one honest notebook. The same at every call.

Each case says what must become of it: it is refused, or graded as what remains with a remark, or does no harm at all.
"""

from __future__ import annotations

import copy
import io
import json
import os
import random
import stat
import struct
import sys
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

Fate = Literal["refused", "remarked", "harmless", "any"]
NAME = "toy_dev"


@dataclass(frozen=True)
class Case:
    name: str
    fate: Fate
    write: Callable[[Path], None]  # into a student's empty folder

    @property
    def says(self) -> str:
        """What the refusal or a remark must say: by whatever else the case is refused, it is not by what it tests."""
        if self.name.endswith((".py in a zip", ".ipynb in a zip")):  # it may be refused by how well it was packed
            return ""
        return next((told for begin, told in SAYS.items() if self.name.startswith(begin)), "")


SAYS = {
    "a million empty lists": "holds more than 1000000 values",
    "a million cells": "cells; up to 5000 are read",
    "ten thousand cells": "cells; up to 5000 are read",
    "half a million markers": "cells; up to 5000 are read",
    "five million letters": "is longer than 4 million letters",
    "one letter that makes": "holds too much text",
    "a cell of a million letters": "letters and was not read",
    "three million letters of other code": "far more code was handed in",
    "lists 5000 deep.": "is nested too deeply",
    "half a surrogate pair": "broken characters",
    "a letter of Latin-1": ": not UTF-8; what could not be read became",
    "100 MiB on disk": "is larger than 32 MiB",
    "a hundred MB in a zip": "more than 96 MiB were handed in",
    "zip bomb of method": "method other than deflate",
    "zip of method": "method other than deflate",
    "zip bombs": "",
    "zip bomb": "more than 200 times its size",
    "honest, 5 zips deep": "is a zip in 3 others",
    "zip with a file of kind": "is a link; only files are read",
    "zip with a folder called": "is a folder, not a notebook",
    "zip with the name": "a name that cannot be printed",
    "zip with ../": "outside of the archive",
    "zip with /": "outside of the archive",
    "zip with C:": "outside of the archive",
    "zip cut off": "is not a zip that can be opened",
    "encrypted": "is encrypted",
    "six thousand entries": "more than 5000 files were handed in",
    "five thousand files": "more than 5000 files were handed in",
    "a table of contents of 12 MB": "a table of contents of more than 8 MiB",
    "a link to": "is a link; only files are read",
    "a hard link": "a second name elsewhere (a hard link)",
    "a pipe": "is neither a file nor a folder",
    "a folder called": "is a folder, not a notebook",
    "nothing at all": "no notebook was handed in",
    "another kind of file": "no notebook was handed in",
}


def cases(page: dict[str, Any], text: str) -> Iterator[Case]:
    """page: an honest notebook's JSON; text: the same as a percent .py."""
    files = [(f"{name}.ipynb", fate, data) for name, fate, data in _pages(page)]
    files += [(f"{name}.py", fate, data) for name, fate, data in _texts(text)]
    for name, fate, data in files:
        yield Case(name, fate, _file(f"{NAME}{Path(name).suffix}", data))
        yield Case(f"{name} in a zip", fate, _file("hw.zip", zipped({f"{NAME}{Path(name).suffix}": data})))
    yield from _archives(json.dumps(page).encode(), text)
    yield from _on_disk(json.dumps(page).encode())


def zipped(files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name), data, method)
    return stream.getvalue()


def _file(name: str, data: bytes) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes(data) and None


def _pages(page: dict[str, Any]) -> Iterator[tuple[str, Fate, bytes]]:
    good = json.dumps(page).encode()
    for share in range(1, 20):
        yield f"cut off after {share} of 20", "refused", good[: len(good) * share // 20]
    pick = random.Random(17)
    for number in range(20):
        place = pick.randrange(len(good))
        yield f"a byte changed {number}", "any", good[:place] + bytes([pick.randrange(256)]) + good[place + 1 :]
    for value in (
        "[]",
        "{}",
        "null",
        "1",
        '"text"',
        '{"cells": {}}',
        '{"cells": null}',
        '{"cells": []}',
        "[1, 2",
        "NaN",
    ):
        yield f"JSON {value}", "refused", value.encode()
    yield "version 3", "refused", json.dumps({"nbformat": 3, "worksheets": [{"cells": page["cells"]}]}).encode()
    for deep in (500, 5_000, 1_000_000):
        yield f"lists {deep} deep", "refused", b"[" * deep + b"]" * deep
        yield f"objects {deep} deep", "refused", b'{"cells":' * deep + b"[]" + b"}" * deep
        yield f"lists {deep} deep, never closed", "refused", b'{"cells": ' + b"[" * deep
    nested = good[:-1] + b', "more": ' + b"[" * 300 + b"]" * 300 + b"}"
    yield "metadata 300 deep", "harmless", nested
    for what in ("9" * 5_000, "1e999999", "-" + "9" * 10_000, "NaN", "Infinity", "-Infinity", "0." + "3" * 9_000):
        yield f"a number {what[:9]}", "harmless", good[:-1] + b', "n": ' + what.encode() + b"}"
    yield "two lists of cells", "harmless", b'{"cells": [1, 2],' + good.lstrip()[1:]
    yield "a byte order mark", "harmless", b"\xef\xbb\xbf" + good
    yield "UTF-16", "harmless", json.dumps(page).encode("utf-16")
    yield "UTF-16 cut in a letter", "refused", json.dumps(page).encode("utf-16")[:-1]
    yield "UTF-32", "refused", json.dumps(page).encode("utf-32")
    yield "a million empty lists", "refused", b'{"cells": [' + b"[]," * 1_000_000 + b"[]]}"
    yield "a million cells", "refused", b'{"cells": [' + b"{}," * 400_000 + b"{}]}"
    yield "ten thousand cells", "refused", json.dumps(page | {"cells": page["cells"] * 1_000}).encode()
    yield "half a million keys", "harmless", good[:-1] + "".join(f', "k{n}": 0' for n in range(500_000)).encode() + b"}"
    yield "empty", "refused", b""
    yield "blanks", "refused", b" \n" * 1_000
    yield "zeros", "refused", bytes(100_000)
    yield "noise", "refused", random.Random(1).randbytes(100_000)
    yield "HTML", "refused", b"<!doctype html><title>Log in</title>"
    yield "a zip", "refused", zipped({"x": b"y"})
    for name, fate, cells in _cells(page["cells"]):
        yield name, fate, json.dumps(page | {"cells": cells}).encode()


def _cells(honest: list[dict[str, Any]]) -> Iterator[tuple[str, Fate, list[Any]]]:
    """Other lists of cells; the honest one ends with the exercise `counter`, which `spoil` changes."""

    def spoil(**changes: Any) -> list[Any]:
        cells = copy.deepcopy(honest)
        cells[-1] |= changes
        return cells

    source = "".join(honest[-1]["source"])
    yield "cells of one id", "harmless", [cell | {"id": "same"} for cell in honest]
    yield "no ids", "harmless", [{key: value for key, value in cell.items() if key != "id"} for cell in honest]
    for odd in (None, 7, [], "text", [[]], True):
        yield f"a cell that is {odd!r}", "remarked", [odd, *honest]
    for odd in (None, 7, {}, [1], ["a", None], [["a"]]):
        yield f"a source that is {odd!r}", "remarked", spoil(source=odd)
    for odd in (None, 7, [], {}, "x" * 100_000):
        yield f"a kind that is {str(odd)[:9]}", "remarked", spoil(cell_type=odd)
        yield f"metadata that is {str(odd)[:9]}", "harmless", spoil(metadata=odd)
        yield f"nbgrader that is {str(odd)[:9]}", "harmless", spoil(metadata={"nbgrader": odd})
        yield f"a grade_id that is {str(odd)[:9]}", "harmless", spoil(metadata={"nbgrader": {"grade_id": odd}})
    yield "points by metadata", "harmless", spoil(metadata={"nbgrader": {"points": 1_000, "grade": True}, "points": 99})
    yield "half a surrogate pair", "remarked", spoil(source=source + "\n# \ud800")
    yield "a cell of a million letters", "remarked", spoil(source=source + "#" * 1_000_000)
    long_line = "#| exercise: counter" + " " * 90_000 + "x"
    yield "a directive of 90 000 blanks", "any", spoil(source=f"#| export\n{long_line}\n{source}")
    yield "a directive for an unknown exercise", "remarked", spoil(source=source.replace(": counter", ": nothing"))
    yield "a directive with control characters", "remarked", spoil(source=source.replace(": counter", ": cou\x00nter"))
    yield "zero bytes", "any", spoil(source=source + "\x00")
    yield "a tower of brackets", "any", spoil(source=source + "\nx = " + "(" * 40_000)
    yield "a tower of signs", "any", spoil(source=source + "\nx = " + "-" * 40_000 + "1")
    yield "a quote that never ends", "any", spoil(source=source + '\n"""' + "\\'" * 20_000)
    yield "lambdas without end", "any", spoil(source=source + "\n" + "lambda " * 10_000)
    yield "a hundred of one exercise", "remarked", [*honest, *honest[-1:] * 100]
    many = [{"cell_type": "code", "metadata": {}, "source": f"y{n} = {n}" * 3} for n in range(4_000)]
    yield "four thousand other cells", "harmless", [*many, *honest]
    code = {"cell_type": "code", "metadata": {}, "source": "zz = 1\n" * 14_000}
    yield "three million letters of other code", "refused", [*[code] * 30, *honest]


def _texts(text: str) -> Iterator[tuple[str, Fate, bytes]]:
    good = text.encode()
    for share in (2, 5, 8, 12, 16, 19):
        yield f"cut off after {share} of 20", "any", good[: len(good) * share // 20]
    yield "empty", "refused", b""
    yield "zeros", "refused", bytes(1_000)
    yield "noise", "refused", random.Random(2).randbytes(50_000)
    yield "no marker", "remarked", good.replace(b"# %%", b"#")
    yield "a byte order mark", "harmless", b"\xef\xbb\xbf" + good
    yield "UTF-16", "harmless", text.encode("utf-16")
    yield "Windows line ends", "harmless", good.replace(b"\n", b"\r\n")
    yield "old Mac line ends", "harmless", good.replace(b"\n", b"\r")
    yield "a letter of Latin-1", "remarked", good + b"\n# caf\xe9\n"
    yield "a quote that never ends", "harmless", good.replace(b"# %% [markdown]", b'# %%\n"""\n\n# %% [markdown]', 1)
    yield "half a million markers", "refused", b"# %%\n" * 600_000 + good
    yield "five million letters", "refused", good + b"#" * 5_000_000
    yield "a million blank lines", "harmless", good + b"\n" * 1_000_000
    yield "a line of three million quotes", "any", good + b"\n# %%\nx = " + b"'" * 3_000_000
    yield "a marker of a million blanks", "harmless", good + b"\n# %%" + b" " * 1_000_000 + b"x\n"
    yield "a header that never ends", "harmless", good.replace(b"# ---\n\n", b"\n", 1)
    yield "JSON", "refused", b'{"cells": 1}'


def _archives(page: bytes, text: str) -> Iterator[Case]:
    name = f"{NAME}.ipynb"
    good = zipped({name: page})
    for share in range(1, 20, 2):
        yield Case(f"zip cut off after {share} of 20", "refused", _file("a.zip", good[: len(good) * share // 20]))
    pick = random.Random(3)
    for number in range(20):
        place = pick.randrange(len(good))
        data = good[:place] + bytes([good[place] ^ 1 << pick.randrange(8)]) + good[place + 1 :]
        yield Case(f"zip with a bit changed {number}", "any", _file("a.zip", data))
    for folder in ("../", "/", "a/../../", "C:\\", "..\\"):
        bad = f"{folder}{name}"
        yield Case(f"zip with {bad}", "refused", _file("a.zip", zipped({bad: page})))
        yield Case(f"zip with {bad} too", "remarked", _file("a.zip", zipped({name: page, bad: b"x"})))
    for entry_name in ("toy_dev\n.ipynb", "\x1b[31mtoy_dev.ipynb", "toy_dev\x7f.ipynb", "\u202etoy_dev.ipynb"):
        yield Case(f"zip with the name {entry_name!r}", "refused", _file("a.zip", zipped({entry_name: page})))
    for entry_name in (
        "CON.ipynb",
        "nul/toy_dev.ipynb",
        "Toy_Dev.IPYNB",
        "a" * 300 + "toy_dev.ipynb",
        "toy_dev (2).ipynb",
    ):
        yield Case(f"zip with {entry_name[:20]!r}", "harmless", _file("a.zip", zipped({entry_name: page})))
    other = page.replace(b"2 * x", b"3 * x")
    both = zipped({name: other, "TOY_DEV.ipynb": page})
    yield Case("zip with names that differ in case", "remarked", _file("a.zip", both))
    twice = zipped({"toy_dev.ipynX": other, name: page}).replace(b"ipynX", b"ipynb")
    yield Case("zip with a name twice", "remarked", _file("a.zip", twice))
    for kind in (stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFSOCK):
        yield Case(
            f"zip with a file of kind {kind:o}", "refused", _file("a.zip", _with_mode(name, b"/etc/passwd", kind))
        )
    yield Case("zip with a folder called as the notebook", "refused", _file("a.zip", zipped({f"{name}/": b""})))
    for offset, what, value in _LIES:
        data = _lie(good, offset, struct.pack("<I", value))
        yield Case(f"zip that lies: {what} {value}", "any", _file("a.zip", data))
    yield Case("zip64 that lies", "refused", _file("a.zip", _zip64_lie(good)))
    yield Case("encrypted", "refused", _file("a.zip", _with_flag(good, 1)))
    for method in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        yield Case(f"zip of method {method}", "refused", _file("a.zip", zipped({name: page}, method)))
        yield Case(f"zip bomb of method {method}", "refused", _file("a.zip", zipped({name: bytes(8_000_000)}, method)))
    bomb = zipped({name: b'{"cells": "' + b"a" * 100_000_000})
    yield Case("zip bomb", "refused", _file("a.zip", bomb))
    for layers in (1, 2, 3, 4, 10):
        data = bomb
        for _ in range(layers):
            data = zipped({f"{number}.zip": data for number in range(4)})
        yield Case(f"zip bombs {layers} deep", "refused", _file("a.zip", data))
    overlapping = _overlapping(name, b'{"cells": "' + b"a" * 30_000_000, 200)
    yield Case("entries that overlap", "refused", _file("a.zip", overlapping))
    yield Case("six thousand entries", "refused", _file("a.zip", zipped({f"{n}.txt": b"" for n in range(6_000)})))
    table = {f"{n:05}" + "\u00e9" * 30_000: b"" for n in range(200)}
    yield Case("a table of contents of 12 MB", "refused", _file("a.zip", zipped(table)))
    yield Case("empty zip", "refused", _file("a.zip", zipped({})))
    yield Case("empty file called zip", "refused", _file("a.zip", b""))
    yield Case("text called zip", "refused", _file("a.zip", text.encode()))
    yield Case("a comment of 65 535 bytes", "harmless", _file("a.zip", good[:-2] + b"\xff\xff" + b"x" * 65_535))
    yield Case("bytes before the zip", "harmless", _file("a.zip", b"#!/bin/sh\nrm -rf /\n" + good))
    for layers, fate in ((1, "harmless"), (2, "harmless"), (4, "refused")):
        data = good
        for _ in range(layers):
            data = zipped({"inner.zip": data})
        yield Case(f"honest, {layers + 1} zips deep", fate, _file("a.zip", data))  # type: ignore[arg-type]


_LIES = [
    (offset, what, value)
    for offset, what in ((22, "size in the file's header"), (18, "packed size in the file's header"), (14, "checksum"))
    for value in (0, 1, 0x7FFFFFFF, 0xFFFFFFFF)
] + [
    (offset, what, value)
    for offset, what in ((-24 + 14, "size of the table"), (-24 + 18, "place of the table"))
    for value in (0, 1, 0x7FFFFFFF, 0xFFFFFFFF)
]


def _lie(data: bytes, offset: int, value: bytes) -> bytes:
    place = offset if offset >= 0 else len(data) + offset
    return data[:place] + value + data[place + len(value) :]


def _with_flag(data: bytes, flag: int) -> bytes:
    """Set a general purpose flag in the header and in the table."""
    table = data.index(b"PK\x01\x02")
    changed = _lie(data, 6, struct.pack("<H", flag))
    return _lie(changed, table + 8, struct.pack("<H", flag))


def _with_mode(name: str, data: bytes, kind: int) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        info = zipfile.ZipInfo(name)
        info.create_system, info.external_attr = 3, (kind | 0o644) << 16
        archive.writestr(info, data)
    return stream.getvalue()


def _zip64_lie(data: bytes) -> bytes:
    """A second, 64-bit end of the table that claims 2**63 entries of 2**62 bytes."""
    end = data.rindex(b"PK\x05\x06")
    record = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, 2**63, 2**63, 2**62, 0)
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, end, 1)
    return data[:end] + record + locator + data[end:]


def _overlapping(name: str, data: bytes, count: int) -> bytes:
    """A table that names one compressed body many times."""
    single = zipped({name: data})
    table, end = single.index(b"PK\x01\x02"), single.rindex(b"PK\x05\x06")
    entries = single[table:end] * count
    tail = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, count, count, len(entries), table, 0)
    return single[:table] + entries + tail


def _on_disk(page: bytes) -> Iterator[Case]:
    name = f"{NAME}.ipynb"

    def sparse(folder: Path) -> None:
        (folder / name).write_bytes(page)
        os.truncate(folder / name, 100 * 2**20)

    def deep(folder: Path) -> None:
        inner = folder.joinpath(*"abcdefghijklmnop")
        inner.mkdir(parents=True)
        (inner / name).write_bytes(page)

    def many(folder: Path) -> None:
        for number in range(5_100):
            (folder / f"{number}.txt").touch()

    def write(source: str) -> Callable[[Path], None]:
        """A notebook with one more cell, which holds millions of letters."""
        cell = {"cell_type": "code", "metadata": {}, "source": source}
        whole = loaded | {"cells": [cell, *loaded["cells"]]}
        return _file(name, json.dumps(whole, ensure_ascii=False).encode())

    loaded = json.loads(page)
    yield Case("100 MiB on disk", "refused", sparse)
    yield Case("a cell of thirty million letters", "remarked", write("x" * 30_000_000))
    yield Case("a cell of seven million letters of four bytes", "remarked", write("\U0001f600" * 7_000_000))
    yield Case("one letter that makes thirty million wide", "refused", write("\U0001f600" + "x" * 30_000_000))
    noise = random.Random(4).randbytes(15_000_000).hex()
    large = {f"{number}.ipynb": f'{{"a": "{noise}"}}'.encode() for number in range(4)}
    yield Case("a hundred MB in a zip", "refused", _file("a.zip", zipped(large)))
    yield Case("nothing at all", "refused", lambda folder: None)
    yield Case("a folder called as the notebook", "refused", lambda folder: (folder / name).mkdir())
    yield Case("sixteen folders deep", "refused", deep)
    yield Case("five thousand files", "refused", many)
    yield Case("another kind of file", "refused", _file("answers.docx", page))
    yield Case(
        "the wrong notebook", "refused", _file("other.ipynb", b'{"cells": [{"cell_type": "code", "source": "x"}]}')
    )
    if sys.platform != "win32":
        yield from _unix(page, name)


def _unix(page: bytes, name: str) -> Iterator[Case]:
    def link(target: str) -> Callable[[Path], None]:
        return lambda folder: (folder / name).symlink_to(target)

    def hard(folder: Path) -> None:
        (folder / "original.txt").write_bytes(page)
        os.link(folder / "original.txt", folder / name)

    def loop(folder: Path) -> None:
        (folder / "again").symlink_to(folder, target_is_directory=True)

    def closed(folder: Path) -> None:
        (folder / name).write_bytes(b"{}")
        (folder / name).chmod(0)

    for target in ("/etc/passwd", "/dev/zero", "/dev/stdin", "../an honest one/toy_dev.ipynb", "nowhere", name):
        yield Case(f"a link to {target.replace('/', ' ')}", "refused", link(target))
    yield Case("a hard link", "refused", hard)
    yield Case("a folder that holds itself", "refused", loop)
    yield Case("a pipe", "refused", lambda folder: os.mkfifo(folder / name))
    yield Case("unreadable", "refused", closed)
