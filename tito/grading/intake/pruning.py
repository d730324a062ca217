"""A notebook's JSON without what is not graded: outputs, attachments, widgets. They may be of almost any size, as may
texts: pictures may stand in them, so that they are kept up to a length.

The bytes are not parsed but walked through, by regular expressions: what is left out takes no memory, and need not even
be right. In its place stands `null`, and as many line ends, so that a message names the right line.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from tito.grading.intake.unpacking import MIB, Refused

STRING = rb'"(?:[^"\\]++|\\.)*+(?:"|\Z)'
PART = re.compile(STRING + rb"|\[(?:[^\[\]{}\"]++|" + STRING + rb")*+\]|[\[\]{}]", re.DOTALL)  # a flat list is one part
KEY = re.compile(rb"[\s,]*+(" + STRING + rb")\s*+:\s*+", re.DOTALL)
SCALAR = re.compile(rb"[^\s,\[\]{}]*+")
BLANK = re.compile(rb"[\s,]*+")
BEGIN = re.compile(rb"(?:\xef\xbb\xbf)?\s*+(?=\{)")
MOST_KEPT = 32 * MIB
LONGEST_TEXT = MIB // 4  # bytes of one text cell
MOST_TEXT = 2 * MIB  # of all
MOST_PARTS = 5_000_000  # that are walked through: a few seconds


def is_json(data: bytearray) -> bool:
    return bool(BEGIN.match(data))


def pruned(data: bytearray, name: str) -> bytes:
    """The cells' kinds, their code and texts, and nbgrader's metadata; whatever is no notebook comes back as it is."""
    return _Walk(data, name).notebook()


class _Walk:
    def __init__(self, data: bytearray, name: str) -> None:
        self._data, self._name = data, name
        self._at = self._kept_to = 0
        self._kept, self._parts_left, self._bytes_left = list[bytes](), MOST_PARTS, MOST_KEPT
        self._text_left = MOST_TEXT

    def notebook(self) -> bytes:
        begin = BEGIN.match(self._data)
        self._at = begin.end() if begin else len(self._data)
        for key in self._members():
            if key == "cells" and self._here(b"["):
                self._cells()
            else:
                self._leave_out()
        self._keep(len(self._data))
        return b"".join(self._kept)

    def _cells(self) -> None:
        self._at += 1
        while not self._ends():
            if self._here(b"{"):
                self._cell()
            else:
                self._pass()

    def _cell(self) -> None:
        kind = b'"code"'
        for key in self._members():
            begin = self._at
            if key == "cell_type":
                self._pass()
                kind = bytes(self._data[begin : min(self._at, begin + 20)])
            elif key == "metadata" and self._here(b"{"):
                for inner in self._members():
                    self._pass() if inner == "nbgrader" else self._leave_out()
            elif key == "source" and kind == b'"code"':
                self._pass()
            elif key == "source":
                self._text()
            else:
                self._leave_out()

    def _members(self) -> Iterator[str]:
        """The keys of the object that begins here, each where its value begins; who asks goes past the value."""
        if not self._here(b"{"):
            return
        self._at += 1
        while not self._ends():
            match = KEY.match(self._data, self._at)
            if match is None:  # no JSON: what follows is left as it is, for the parser to complain of
                self._at = len(self._data)
                return
            self._at = match.end()
            yield _unquoted(bytes(match[1][:1_000]))

    def _here(self, letter: bytes) -> bool:
        return self._data[self._at : self._at + 1] == letter

    def _ends(self) -> bool:
        """Go past a list's or an object's end, if it is here."""
        blank = BLANK.match(self._data, self._at)
        self._at = blank.end() if blank else self._at
        if self._at < len(self._data) and self._data[self._at] not in b"]}":
            return False
        self._at += 1
        return True

    def _pass(self) -> None:
        """Go past the value that begins here."""
        if not any(map(self._here, (b'"', b"[", b"{"))):
            scalar = SCALAR.match(self._data, self._at)
            self._at = scalar.end() if scalar else self._at
            return
        depth = 0
        for match in PART.finditer(self._data, self._at):
            begin, end = match.span()
            self._parts_left -= 1
            if self._parts_left < 0:
                raise Refused(f"{self._name} holds more than {MOST_PARTS} values: clear its outputs and save it again")
            if end - begin == 1 and self._data[begin] in b"[{":
                depth += 1
            elif self._data[begin] in b"]}":
                depth -= 1
            if depth <= 0:
                self._at = end
                return
        self._at = len(self._data)

    def _text(self) -> None:
        begin = self._at
        self._pass()
        length = self._at - begin
        if length > min(LONGEST_TEXT, self._text_left):
            self._drop(begin)
        else:
            self._text_left -= length

    def _leave_out(self) -> None:
        begin = self._at
        self._pass()
        self._drop(begin)

    def _drop(self, begin: int) -> None:
        """Put null in the place of what was passed since `begin`."""
        lines = self._data.count(b"\n", begin, self._at)
        self._keep(begin)
        self._kept.append(b"null" + b"\n" * lines)
        self._kept_to = self._at

    def _keep(self, end: int) -> None:
        self._bytes_left -= end - self._kept_to
        if self._bytes_left < 0:
            raise Refused(f"{self._name} holds more than {MOST_KEPT // MIB} MiB of code")
        self._kept.append(bytes(self._data[self._kept_to : end]))


def _unquoted(key: bytes) -> str:
    try:
        return str(json.loads(key)) if b"\\" in key else key[1:-1].decode("utf-8", "replace")
    except ValueError:
        return ""
