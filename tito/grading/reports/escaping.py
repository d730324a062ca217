"""What strangers wrote, made fit to be shown: text on a page, a cell of a spreadsheet, the name of a file."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable

LINES, WIDTH = 40, 300  # of a text that is shown; a message that teaches is far shorter
STACKED = 4  # accents on one letter; more only serve to paint over other lines
JOINERS = "\u200c\u200d"  # part of Persian words and of emoji; harmless behind a letter that is not ASCII
SIGNS = r"[=+\-@\t\r\uff1d\uff0b\uff0d\uff20]"  # begin a formula; Excel reads the full width ones too
FORMULA = re.compile(SIGNS)
NEXT_CELL = re.compile(rf"(;\s*)(?={SIGNS})")  # where a semicolon parts cells, as in much of Europe
PLAIN = re.compile(r"[^\W_][\w ,+@().-]*")
HASHED = re.compile(r".*-[0-9a-f]{12}")
PORTS = {f"{port}{number}" for port in ("COM", "LPT") for number in "0123456789¹²³"}
DEVICES = PORTS | {"CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$"}  # no file on Windows may be called so
LONGEST_NAME = 100  # bytes; file systems allow 255 and we add an ending


def shown(text: str, lines: int = LINES, width: int = WIDTH) -> str:
    """The text with what would not be seen, or would disturb its surroundings, made visible or cut.

    >>> shown("red \\x1b[31m, reversed \\u202eexe.txt")
    'red ␛[31m, reversed ⟨U+202E⟩exe.txt'
    """
    found = text.replace("\r\n", "\n").split("\n")
    kept = [_calm(line[:width]) + _cut(len(line) - width, "character") for line in found[:lines]]
    return "\n".join(kept) + _cut(len(found) - lines, "line")


def one_line(text: str, width: int = WIDTH) -> str:
    """The same in one line.

    >>> one_line("zero stays:\\ngot 1")
    'zero stays: got 1'
    """
    return shown(" ".join(text.split()), 1, width)


def _cut(left: int, what: str) -> str:
    return f" … ({left} more {what}{'' if left == 1 else 's'})" if left > 0 else ""


def _calm(line: str) -> str:
    if line.isprintable() and line.isascii():
        return line
    calm, stacked, last = list[str](), 0, " "
    for char in line:
        stacked = stacked + 1 if unicodedata.category(char) in ("Mn", "Me") else 0
        if stacked <= STACKED:
            calm.append(_visible(char, last))
        last = char
    return "".join(calm)


def _visible(char: str, before: str) -> str:
    if char.isprintable() or (char in JOINERS and not before.isascii()):
        return char
    if char == "\t" or unicodedata.category(char) == "Zs":
        return "    " if char == "\t" else " "
    if char < " ":
        return chr(0x2400 + ord(char))  # Unicode has a picture of each
    return f"⟨U+{ord(char):04X}⟩"


def cell(text: str) -> str:
    """The text as a cell that no spreadsheet takes for a formula.

    >>> cell("=1+1"), cell("-3 points"), cell("a;=1+1"), cell("plain")
    ("'=1+1", "'-3 points", "a;'=1+1", 'plain')
    """
    text = NEXT_CELL.sub(r"\1'", text)
    return f"'{text}" if FORMULA.match(text.lstrip(" ")) else text


def file_names(names: Iterable[str]) -> dict[str, str]:
    """For each name one for a file, without ending: safe on every system, and different even where case is not kept.

    A plain name stays as it is; of another what is harmless is kept, with a hash that keeps it apart.

    >>> file_names(["Ana Sá", "../x", "CON"])
    {'Ana Sá': 'Ana Sá', '../x': 'x-d6b96a97d147', 'CON': 'CON-a3dbc4b644a9'}
    """
    names = list(names)
    alike = Counter(_folded(name) for name in names)
    return {name: name if _plain(name) and alike[_folded(name)] == 1 else _hashed(name) for name in names}


def _folded(name: str) -> str:
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())


def _plain(name: str) -> bool:
    """Whether the name can be a file's as it stands, and not be the hashed form of another."""
    device = name.split(".")[0].strip().upper() in DEVICES
    short = len(name.encode("utf-8", "replace")) <= LONGEST_NAME
    composed = unicodedata.is_normalized("NFC", name)
    return bool(PLAIN.fullmatch(name)) and short and composed and not device and not HASHED.fullmatch(name.casefold())


def _hashed(name: str) -> str:
    words = re.sub(r"[^\w]+", "_", unicodedata.normalize("NFKC", name)).strip("_")
    words = words.encode("utf-8", "ignore")[: LONGEST_NAME // 2].decode("utf-8", "ignore")
    return f"{words}-{hashlib.sha256(name.encode('utf-8', 'surrogatepass')).hexdigest()[:12]}".lstrip("-")
