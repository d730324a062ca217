"""Submissions that are damaged, or were made to do damage, generated from one honest notebook. The same at every call.

Each case says what must become of it: it is refused, or graded as what remains with a remark, or does no harm at all.
"""

from __future__ import annotations

import copy
import json
import os
import random
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from .malformed_zips import NAME, Case, Fate, archives, in_file, zipped


def cases(page: dict[str, Any], text: str) -> Iterator[Case]:
    """page: an honest notebook's JSON; text: the same as a percent .py."""
    files = [(f"{name}.ipynb", fate, data) for name, fate, data in _pages(page)]
    files += [(f"{name}.py", fate, data) for name, fate, data in _texts(text)]
    for name, fate, data in files:
        yield Case(name, fate, in_file(f"{NAME}{Path(name).suffix}", data))
        yield Case(f"{name} in a zip", fate, in_file("hw.zip", zipped({f"{NAME}{Path(name).suffix}": data})))
    yield from archives(json.dumps(page).encode(), text)
    yield from _on_disk(json.dumps(page).encode())


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
    yield "brackets in an output", "refused", b'{"cells": [{"outputs": [' + b"[[]]," * 6_000_000 + b"[]]}]}"
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
    odd: Any
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
    yield "five million letters", "remarked", good + b"#" * 5_000_000
    yield "forty million letters", "refused", good + b"#" * 40_000_000
    yield "a million blank lines", "harmless", good + b"\n" * 1_000_000
    yield "a line of three million quotes", "any", good + b"\n# %%\nx = " + b"'" * 3_000_000
    yield "a marker of a million blanks", "harmless", good + b"\n# %%" + b" " * 1_000_000 + b"x\n"
    yield "a header that never ends", "harmless", good.replace(b"# ---\n\n", b"\n", 1)
    yield "JSON", "refused", b'{"cells": 1}'


def _on_disk(page: bytes) -> Iterator[Case]:
    name = f"{NAME}.ipynb"

    def sparse(folder: Path) -> None:
        (folder / name).write_bytes(page)
        os.truncate(folder / name, 200 * 2**20)

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
        return in_file(name, json.dumps(whole, ensure_ascii=False).encode())

    loaded = json.loads(page)
    yield Case("200 MiB on disk", "refused", sparse)
    yield Case("a cell of thirty million letters", "remarked", write("x" * 30_000_000))
    yield Case("a cell of seven million letters of four bytes", "remarked", write("\U0001f600" * 7_000_000))
    yield Case("one letter that makes thirty million wide", "refused", write("\U0001f600" + "x" * 30_000_000))
    large = dict.fromkeys((f"{number}.ipynb" for number in range(5)), b'{"a": "' + b"a" * 100_000_000 + b'"}')
    yield Case("500 MB in a zip", "refused", in_file("a.zip", zipped(large)))
    output = json.dumps(
        {"cell_type": "code", "metadata": {}, "source": "", "outputs": ["spam\n" * 15_000_000]}
    ).encode()
    yield Case(
        "100 MB of output", "harmless", in_file(name, page.replace(b'"cells": [', b'"cells": [' + output + b",", 1))
    )
    yield Case("nothing at all", "refused", lambda folder: None)
    yield Case("a folder called as the notebook", "refused", lambda folder: (folder / name).mkdir())
    yield Case("sixteen folders deep", "refused", deep)
    yield Case("five thousand files", "refused", many)
    yield Case("another kind of file", "refused", in_file("answers.docx", page))
    yield Case(
        "the wrong notebook", "refused", in_file("other.ipynb", b'{"cells": [{"cell_type": "code", "source": "x"}]}')
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
