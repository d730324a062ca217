"""Python as tokens, by one regular expression: any text at all, in linear time, without an exception.

`tokenize` raises on broken code, and `ast` can bring the interpreter down; strangers send both on purpose.
"""

from __future__ import annotations

import builtins
import keyword
import re
from collections.abc import Iterator, Mapping
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
BLANKS = re.compile(r"[ \t\f]*+")
RESERVED = frozenset(keyword.kwlist) | frozenset(dir(builtins))
SHORT = 5_000  # characters
NEAR = 50  # tokens within which a `for` has its `in`, and a `lambda` its colon
OPEN, CLOSE = frozenset("([{"), frozenset(")]}")
BEYOND = frozenset(".([")  # after a name: what is meant is a part of the object, or a call


class Token(NamedTuple):
    kind: str
    text: str
    start: int  # characters from the beginning of the text


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


Definitions = Mapping[str, str]  # name -> `def`, `class` or `=`


def definitions(text: str) -> Definitions:
    """The names that a cell itself defines for others: by def, class or assignment, and by no import.

    What stands in an `if`, `try`, `with` or loop counts, what stands in a function or a class does not.
    """
    return _remembered_definitions(text) if len(text) < SHORT else _definitions(text)


def _definitions(text: str) -> Definitions:
    found, scope = dict[str, str](), None  # scope: the indentation of the function or class that a line stands in
    for indent, line in _indented(text):
        if scope is not None and indent > scope:
            continue
        words = [token.text for token in line[:3] if token.text != "async"]
        scope = indent if words[:1] in (["def"], ["class"]) else None
        if scope is None:
            found |= dict.fromkeys(_assigned(line), "=")
        elif len(words) > 1:
            found[words[1]] = words[0]
    return found


_remembered_definitions = lru_cache(maxsize=2_000)(_definitions)


def _indented(text: str) -> Iterator[tuple[int, list[Token]]]:
    """The statements, each with the indentation of the line on which it begins."""
    indent, before = 0, 0
    for line in filter(None, _statements(text)):
        begin = line[0].start
        end_of_line = text.rfind("\n", before, begin)  # none: the statement before stands on the same line
        if end_of_line >= 0 or not before:
            indent = len(BLANKS.match(text, end_of_line + 1)[0])  # type: ignore[index]  # it matches anywhere
        before = begin
        yield indent, line


def _assigned(line: list[Token]) -> Iterator[str]:
    """The plain names that a statement assigns to: `a`, `b` and `g` of `a, (b, c.d, e[f]) = g = h(i=1)`."""
    depth, waiting = 0, list[str]()  # depth: of calls, indices and displays, in which nothing is assigned to
    for before, token, after in zip([None, *line], line, [*line[1:], None], strict=False):
        follows = before is not None and (before.kind == "name" or before.text in CLOSE)
        if token.text in OPEN and (depth or follows or token.text == "{"):
            depth += 1
        elif depth:
            depth -= token.text in CLOSE
        elif token.text == "=":
            yield from waiting
            waiting = []
        elif token.text == ":":  # of an annotation, of `if x:` or of a lambda
            yield from waiting if len(waiting) == 1 and any(it.text == "=" for it in line) else ()
            return
        elif token.kind == "name" and not (before and before.text == ".") and not (after and after.text in BEYOND):
            waiting.append(token.text)


def imported(text: str) -> dict[str, str]:
    """What a cell imports at its top level: the name here -> the dotted name that it stands for.

    >>> imported("import a.b, numpy as np\\nfrom c.d import (e, f as g)")
    {'a': 'a', 'np': 'numpy', 'e': 'c.d.e', 'g': 'c.d.f'}
    """
    found = dict[str, str]()
    for line in _statements(text):
        texts = [token.text for token in line if token.text not in ("(", ")")]
        if texts[:1] not in (["import"], ["from"]) or "import" not in texts or texts[1:2] in ([], ["."], ["..."]):
            continue
        place = texts.index("import")
        source = texts[1:place] + ["."] * (place > 0)
        for part in " ".join(texts[place + 1 :]).rstrip(" ,").split(" , "):
            name, _, alias = part.partition(" as ")
            dotted = name.replace(" ", "")
            top = dotted if source or alias else dotted.partition(".")[0]
            found[alias or top] = "".join(source) + top
    return found


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
            targets.clear()  # of a chain of assignments each name is looked at once
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
