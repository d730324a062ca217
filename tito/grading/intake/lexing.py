"""Python as tokens, by one regular expression: any text at all, in linear time, without an exception.

`tokenize` raises on broken code, and `ast` can bring the interpreter down; strangers send both on purpose.
"""

from __future__ import annotations

import builtins
import keyword
import re
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

TOKEN = re.compile(
    r"""(?P<space>[ \t\f]++|\\\n)
    | (?P<comment>\#[^\n]*+)
    | (?P<newline>\n)
    | (?P<string>[bBfFrRtTuU]{0,2}(?:
        '''(?:[^'\\]|\\.?+|'(?!''))*+(?:''')?+   # what is not closed goes on to the end
      | \"""(?:[^"\\]|\\.?+|"(?!""))*+(?:\""")?+
      | '(?:[^'\\\n]|\\.?+)*+'?+
      | "(?:[^"\\\n]|\\.?+)*+"?+))
    | (?P<name>[^\W\d]\w*+)
    | (?P<number>\.?\d(?:[eE][-+]|[\w.])*+)
    | (?P<operator>->|:=|\.\.\.|(?:\*\*|//|<<|>>|[-+*/%@&|^=!<>])=|\*\*|//|<<|>>|.)""",
    re.VERBOSE | re.DOTALL,
)
RESERVED = frozenset(keyword.kwlist) | frozenset(dir(builtins))
SHORT = 5_000  # letters
NEAR = 50  # tokens within which a `for` has its `in`, and a `lambda` its colon
OPEN, CLOSE = frozenset("([{"), frozenset(")]}")


class Token(NamedTuple):
    kind: str
    text: str
    start: int  # letters from the beginning of the text


def tokens(text: str, most: int = 20_000) -> Iterator[Token]:
    """The first `most` tokens, without blanks and comments; a line's end is one only outside of brackets."""
    depth = 0
    for match in TOKEN.finditer(text):
        kind, text = str(match.lastgroup), match[0]
        if kind in ("space", "comment") or (kind == "newline" and depth):
            continue
        if text in OPEN:
            depth += 1
        elif depth and text in CLOSE:
            depth -= 1
        yield Token(kind, text, match.start())
        most -= 1
        if not most:
            return


def _statements(text: str) -> Iterator[list[Token]]:
    line = list[Token]()
    for token in tokens(text):
        if token.kind == "newline" or token.text == ";":
            yield line
            line = []
        else:
            line.append(token)
    yield line


def defined(text: str) -> frozenset[str]:
    """The names that a cell defines at its top level, as far as can be told without a parser."""
    return _remembered(text) if len(text) < SHORT else _defined(text)


def _defined(text: str) -> frozenset[str]:
    found = set[str]()
    for line in _statements(text):
        if line and (line[0].start == 0 or text[line[0].start - 1] in "\n;"):
            found |= _bound(line)
    return frozenset(found)


_remembered = lru_cache(maxsize=2_000)(_defined)  # given cells come back in every submission


def free(text: str) -> set[str]:
    """The names that a cell uses and does not define: neither at its top level, nor inside, nor as a parameter."""
    used, bound = set[str](), set[str]()
    for line in _statements(text):
        bound |= _bound(line) | _parameters(line)
        if not line or line[0].text not in ("import", "from"):
            before = ["", *(token.text for token in line)]
            used |= {it.text for it, dot in zip(line, before, strict=False) if it.kind == "name" and dot != "."}
    return used - bound - RESERVED


def _bound(line: list[Token]) -> set[str]:
    """What one statement defines: by def, class, import, as, for, = and :=."""
    texts = [token.text for token in line]
    begin = 1 if texts[:1] == ["async"] else 0
    first = texts[begin] if len(texts) > begin else ""
    if first in ("def", "class"):
        return set(texts[begin + 1 : begin + 2])
    if first in ("import", "from"):
        imported = texts[texts.index("import") + 1 :] if "import" in texts else []
        return {text for text in imported if text.isidentifier() and text != "as"}
    found, depth, targets = set[str](), 0, set[str]()
    for index, token in enumerate(line):
        depth += (token.text in OPEN) - (token.text in CLOSE)
        if token.kind == "name" and texts[index - 1 : index] != ["."]:
            targets.add(token.text)
        if token.text == "=" and depth == 0:
            found |= targets
        if token.text == ":=" or (index and texts[index - 1] == "as"):
            found.add(texts[index - 1] if token.text == ":=" else token.text)
        if token.text == "for":
            found |= set(_until(texts[index + 1 : index + NEAR], "in"))
    return found


def _parameters(line: list[Token]) -> set[str]:
    """The parameters of a def and of lambdas; for a lambda their defaults too, which does no harm here."""
    texts = [token.text for token in line]
    found = set[str]()
    for index, text in enumerate(texts):
        if text == "lambda":
            found |= set(_until(texts[index + 1 : index + NEAR], ":"))
        elif index and "def" in texts[:2] and text in ("(", ",", "*", "**") and texts[index + 2 : index + 3]:
            found |= {texts[index + 1]} if texts[index + 2] in (":", ",", "=", ")") else set()
    return found


def _until(texts: list[str], end: str) -> list[str]:
    return texts[: texts.index(end)] if end in texts else []
