"""Archives that are damaged, or were made to do damage; and what a case is."""

from __future__ import annotations

import io
import random
import stat
import struct
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

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
    "forty million letters": "is longer than 32 million characters",
    "brackets in an output": "holds more than 5000000 values",
    "one letter that makes": "holds more text than 80 MiB",
    "a cell of a million letters": "it was not read",
    "three million letters of other code": "far more code was handed in",
    "lists 5000 deep.": "is nested too deeply",
    "half a surrogate pair": "broken characters",
    "a letter of Latin-1": ": not UTF-8; what could not be read became",
    "200 MiB on disk": "is larger than 128 MiB",
    "500 MB in a zip": "more than 384 MiB were handed in",
    "zip bomb of method": "method other than deflate",
    "zip of method": "method other than deflate",
    "zip bombs": "",
    "zip bomb": "its JSON breaks off",
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


def zipped(files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name), data, method)
    return stream.getvalue()


def in_file(name: str, data: bytes) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        (folder / name).write_bytes(data)

    return write


def archives(page: bytes, text: str) -> Iterator[Case]:
    name = f"{NAME}.ipynb"
    good = zipped({name: page})
    for share in range(1, 20, 2):
        yield Case(f"zip cut off after {share} of 20", "refused", in_file("a.zip", good[: len(good) * share // 20]))
    pick = random.Random(3)
    for number in range(20):
        place = pick.randrange(len(good))
        data = good[:place] + bytes([good[place] ^ 1 << pick.randrange(8)]) + good[place + 1 :]
        yield Case(f"zip with a bit changed {number}", "any", in_file("a.zip", data))
    for folder in ("../", "/", "a/../../", "C:\\", "..\\"):
        bad = f"{folder}{name}"
        yield Case(f"zip with {bad}", "refused", in_file("a.zip", zipped({bad: page})))
        yield Case(f"zip with {bad} too", "remarked", in_file("a.zip", zipped({name: page, bad: b"x"})))
    for entry_name in ("toy_dev\n.ipynb", "\x1b[31mtoy_dev.ipynb", "toy_dev\x7f.ipynb", "\u202etoy_dev.ipynb"):
        yield Case(f"zip with the name {entry_name!r}", "refused", in_file("a.zip", zipped({entry_name: page})))
    for entry_name in (
        "CON.ipynb",
        "nul/toy_dev.ipynb",
        "Toy_Dev.IPYNB",
        "a" * 300 + "toy_dev.ipynb",
        "toy_dev (2).ipynb",
    ):
        yield Case(f"zip with {entry_name[:20]!r}", "harmless", in_file("a.zip", zipped({entry_name: page})))
    other = page.replace(b"2 * x", b"3 * x")
    both = zipped({name: other, "TOY_DEV.ipynb": page})
    yield Case("zip with names that differ in case", "remarked", in_file("a.zip", both))
    twice = zipped({"toy_dev.ipynX": other, name: page}).replace(b"ipynX", b"ipynb")
    yield Case("zip with a name twice", "remarked", in_file("a.zip", twice))
    for kind in (stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFSOCK):
        yield Case(
            f"zip with a file of kind {kind:o}", "refused", in_file("a.zip", _with_mode(name, b"/etc/passwd", kind))
        )
    yield Case("zip with a folder called as the notebook", "refused", in_file("a.zip", zipped({f"{name}/": b""})))
    for offset, what, value in _LIES:
        data = _lie(good, offset, struct.pack("<I", value))
        yield Case(f"zip that lies: {what} {value}", "any", in_file("a.zip", data))
    yield Case("zip64 that lies", "refused", in_file("a.zip", _zip64_lie(good)))
    yield Case("encrypted", "refused", in_file("a.zip", _with_flag(good, 1)))
    for method in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        yield Case(f"zip of method {method}", "refused", in_file("a.zip", zipped({name: page}, method)))
        yield Case(
            f"zip bomb of method {method}", "refused", in_file("a.zip", zipped({name: bytes(8_000_000)}, method))
        )
    bomb = zipped({name: b'{"cells": "' + b"a" * 100_000_000})
    yield Case("zip bomb", "refused", in_file("a.zip", bomb))
    for layers in (1, 2, 3, 4, 10):
        data = bomb
        for _ in range(layers):
            data = zipped({f"{number}.zip": data for number in range(4)})
        yield Case(f"zip bombs {layers} deep", "refused", in_file("a.zip", data))
    overlapping = _overlapping(name, b'{"cells": "' + b"a" * 30_000_000, 200)
    yield Case("entries that overlap", "refused", in_file("a.zip", overlapping))
    yield Case("six thousand entries", "refused", in_file("a.zip", zipped({f"{n}.txt": b"" for n in range(6_000)})))
    table = {f"{n:05}" + "\u00e9" * 30_000: b"" for n in range(200)}
    yield Case("a table of contents of 12 MB", "refused", in_file("a.zip", zipped(table)))
    yield Case("empty zip", "refused", in_file("a.zip", zipped({})))
    yield Case("empty file called zip", "refused", in_file("a.zip", b""))
    yield Case("text called zip", "refused", in_file("a.zip", text.encode()))
    yield Case("a comment of 65 535 bytes", "harmless", in_file("a.zip", good[:-2] + b"\xff\xff" + b"x" * 65_535))
    yield Case("bytes before the zip", "harmless", in_file("a.zip", b"#!/bin/sh\nrm -rf /\n" + good))
    for layers, fate in ((1, "harmless"), (2, "harmless"), (4, "refused")):
        data = good
        for _ in range(layers):
            data = zipped({"inner.zip": data})
        yield Case(f"honest, {layers + 1} zips deep", fate, in_file("a.zip", data))  # type: ignore[arg-type]


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
