"""Pairs of submissions whose solutions of an exercise are alike in what is rare. A place to look, never a verdict.

Fingerprints as in Schleimer, Wilkerson, Aiken: Winnowing, Local Algorithms for Document Fingerprinting (SIGMOD 2003):
every run of a few tokens is one, after names that a person may choose are made equal. All runs are kept: an exercise is
short. What is given, and what many people wrote, counts little or nothing. (copydetect, which does the same, compares
every file with every other one, does not weigh by rarity, and draws in matplotlib.)
"""

from __future__ import annotations

import ast
import keyword
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from tito.grading.intake import lexing
from tito.grading.submission import Submission

RUNS = (12, 24)  # tokens of a fingerprint: the short outlive an edit, the long are rare even where phrases are common
MOST_TOKENS = 1_500  # of an exercise that are compared; the longest honest one has 600
COMMON = 40  # a fingerprint that more people share brings no two of them together
ENOUGH = 32.0  # what a solution weighs at least: one of few tokens is alike by chance
ALIKE = 0.8  # the score from which one exercise is shown
THROUGHOUT = 0.35  # the mean score from which two people's exercises of this score are shown
FEW = 5  # exercises: a mean over fewer says little
SLIGHT = 0.1  # scores below are taken for 0
MOST_PAIRS = 500
CHUNK = 500_000  # pairs of people held at once
BETWEEN = "\n\n\n"
CODE, CODE_SIGNS = 3, frozenset("=([.*/+-")  # a string of so many tokens, one of them a sign, may be code
LONG_WORD, PIECE = 60, 8  # letters: no prose has a word of so many; it is compared in pieces
ESCAPE = re.compile(r"\\.", re.DOTALL)
LETTERS = "bBfFrRtTuU"  # before a string
KEYWORDS = frozenset(keyword.kwlist)

NO_CODES, NOBODY, NOTHING = np.zeros(0, np.uint64), np.zeros(0, np.int64), np.zeros(0, np.float64)

Block = tuple[tuple[int, int], tuple[int, int]]  # (start, end) in the first text, (start, end) in the second


@dataclass(frozen=True)
class Pair:
    """Two solutions of an exercise that share what few others have. Score: from 0 to 1, the shared part by weight."""

    first: str
    second: str
    exercise: str
    score: float
    first_text: str
    second_text: str
    blocks: tuple[Block, ...] = ()  # characters that correspond, without what was given


def pairs(submissions: Sequence[Submission], base_cells: Mapping[str, Sequence[str]]) -> list[Pair]:
    """Who is alike in what: one exercise almost entirely, or many, each more than chance explains; most alike first.

    base_cells: what students were given, see `intake.given_cells`.
    """
    found = [_Exercise(submissions, exercise, base) for exercise, base in base_cells.items()]
    keys, places = np.unique(np.concatenate([one.keys for one in found] or [NOBODY]), return_inverse=True)
    sums = np.bincount(places, weights=np.concatenate([one.scores for one in found] or [NOTHING]), minlength=len(keys))
    first, second = np.divmod(keys, max(1, len(submissions)))
    done = np.array([one.done for one in found], bool).reshape(len(found), len(submissions))
    means = sums / np.maximum((done[:, first] & done[:, second]).sum(axis=0), FEW)
    made = list[tuple[float, Pair]]()
    for one in found:
        mean = means[np.searchsorted(keys, one.keys)]
        shown = (one.scores >= ALIKE) | ((mean >= THROUGHOUT) & (one.scores >= THROUGHOUT))
        chosen = np.flatnonzero(shown)
        chosen = chosen[np.argsort(-mean[chosen], kind="stable")][:MOST_PAIRS]
        made += [(float(mean[place]), one.pair(int(place))) for place in chosen]
    made.sort(key=lambda item: (-item[0], item[1].first, item[1].second, -item[1].score, item[1].exercise))
    return [pair for _, pair in made[:MOST_PAIRS]]


@dataclass(frozen=True)
class _Text:
    """A solution as tokens, equal ones as equal numbers."""

    name: str
    text: str
    codes: NDArray[np.uint64]


class _Exercise:
    """Everyone's solutions of one exercise: keys are pairs of people as first * people + second, each with a score."""

    def __init__(self, submissions: Sequence[Submission], exercise: str, base: Sequence[str]) -> None:
        self._exercise, self._tokenizer = exercise, _Tokenizer(base)
        self._texts = [self._tokenizer.read(one.name, one.cells.get(exercise, ())) for one in submissions]
        self.done = [not set(_prints(text.codes, RUNS[0]).tolist()) <= self._tokenizer.given for text in self._texts]
        keys, scores = zip(*(self._compared(run) for run in RUNS), strict=True)
        self.keys, places = np.unique(np.concatenate(keys), return_inverse=True)
        self.scores = np.zeros(len(self.keys))
        np.maximum.at(self.scores, places, np.concatenate(scores))

    def _compared(self, run: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        n = len(self._texts)
        given = _prints(self._tokenizer.base, run)
        own = [np.setdiff1d(_prints(text.codes, run), given) for text in self._texts]
        _, ids, counts = np.unique(np.concatenate([*own, NO_CODES]), return_inverse=True, return_counts=True)
        people = np.repeat(np.arange(n), [len(one) for one in own])
        weights = _weights(counts, n)
        totals = np.bincount(people, weights=weights[ids], minlength=n)
        keys, shared = _shared(ids, people, counts, weights, n)
        first, second = np.divmod(keys, max(1, n))
        scores = np.minimum(shared / np.maximum(np.minimum(totals[first], totals[second]), ENOUGH), 1.0)
        return keys[scores >= SLIGHT], scores[scores >= SLIGHT]

    def pair(self, place: int) -> Pair:
        first, second = divmod(int(self.keys[place]), len(self._texts))
        a, b = self._texts[first], self._texts[second]
        blocks = tuple(_blocks(a, b, self._tokenizer.given))
        return Pair(a.name, b.name, self._exercise, float(self.scores[place]), a.text, b.text, blocks)


def _prints(codes: NDArray[np.uint64], run: int) -> NDArray[np.uint64]:
    """The fingerprints of every `run` tokens: a polynomial modulo 2**64."""
    prints = np.zeros(max(0, len(codes) - run + 1), np.uint64)
    for place in range(run):
        prints = prints * np.uint64(0x9E3779B97F4A7C15) + codes[place : place + len(prints)]
    return prints


def _weights(counts: NDArray[np.int64], people: int) -> NDArray[np.float64]:
    """What a fingerprint says that `counts` people share: 1 for two of them, little for many, nothing beyond COMMON.

    The square makes a solution that half of a small class found by itself weigh next to nothing. 8 more people, of whom
    nothing is known, keep two who are alone in a batch from being everybody.
    """
    rarity = np.log((people + 8) / np.maximum(counts, 2)) / np.log((people + 8) / 2)
    return np.where(counts <= COMMON, rarity**2, 0.0)


def _shared(
    ids: NDArray[np.int64], people: NDArray[np.int64], counts: NDArray[np.int64], weights: NDArray[np.float64], n: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Who shares what: pairs of people as first * n + second, and the weight of the fingerprints they share."""
    by_print = people[np.argsort(ids, kind="stable")]
    starts = np.cumsum(counts) - counts
    keys, sums = NOBODY, NOTHING
    for count in range(2, COMMON + 1):
        first, second = np.triu_indices(count, 1)
        prints = np.flatnonzero(counts == count)
        for some in np.array_split(prints, 1 + len(prints) * len(first) // CHUNK):
            who = by_print[starts[some][:, None] + np.arange(count)]
            pair = (who[:, first] * n + who[:, second]).ravel()
            weight = np.repeat(weights[some], len(first))
            keys, places = np.unique(np.concatenate([keys, pair]), return_inverse=True)
            sums = np.bincount(places, weights=np.concatenate([sums, weight]), minlength=len(keys)).astype(np.float64)
    return keys, sums


class _Tokenizer:
    """Turns solutions of one exercise into tokens, equal ones into equal numbers."""

    def __init__(self, base: Sequence[str]) -> None:
        self._numbers = dict[str, int]()
        names = {token.text for source in base for token in lexing.tokens(source) if token.kind == "name"}
        self._names = names.difference(*map(_variables, base))
        self.base = self.read("", base).codes
        self.given = set(_prints(self.base, RUNS[0]).tolist())

    def read(self, name: str, cells: Sequence[str]) -> _Text:
        text = BETWEEN.join(cells)
        tokens = _tokens(text)
        words = [self._word(tokens, place) for place in range(len(tokens))]
        codes = np.array([self._numbers.setdefault(word, len(self._numbers) + 1) for word in words], np.uint64)
        return _Text(name, text, codes)

    def _word(self, tokens: Sequence[lexing.Token], place: int) -> str:
        """A token, without what a person may choose: names of variables, and what texts say."""
        token = tokens[place]
        if token.kind == "string":
            return '""'
        if token.kind != "name" or token.text in self._names or token.text in lexing.RESERVED:
            return token.text
        before = [tokens[index].text for index in (place - 2, place - 1) if index >= 0]
        attribute = before[-1:] == ["."] and before[0] != "self"  # np.rint is rint under any other name, too
        return token.text if attribute else "name"


def _variables(source: str) -> set[str]:
    """What the given code itself names, parameters too: whoever copies can call these otherwise."""
    with suppress(SyntaxError):
        nodes = list(ast.walk(ast.parse(source)))
        stored = {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
        return stored | {node.arg for node in nodes if isinstance(node, ast.arg)} - {"self"}
    return set()


def _tokens(text: str) -> list[lexing.Token]:
    """The tokens of a text; of a string that is code, as for `exec`, those of the code."""
    found = list[lexing.Token]()
    for token in lexing.tokens(text, MOST_TOKENS):
        inside = list(_in_string(token)) if token.kind == "string" else []
        found += inside or ([token] if token.kind != "newline" else [])
        if len(found) >= MOST_TOKENS:
            break
    return found[:MOST_TOKENS]


def _in_string(token: lexing.Token) -> Iterator[lexing.Token]:
    """The tokens of what a string says, if that is code, or one long word as compressed code is; else none.

    Prose is no code: in it names follow each other. Each escaped letter stands for itself or, as `\\n`, for a blank.
    """
    head, body = _parts(token.text)
    said = ESCAPE.sub(lambda match: " " * (len(match[0]) - 1) + _unescaped(match[0]), body)
    inside = [one for one in lexing.tokens(said, MOST_TOKENS) if one.kind != "newline"]
    side_by_side = sum(a.kind == b.kind == "name" and not {a.text, b.text} & KEYWORDS for a, b in pairwise(inside))
    if max(map(len, body.split()), default=0) >= LONG_WORD:
        pieces = range(0, len(body), PIECE)
        yield from (lexing.Token("opaque", body[at : at + PIECE], token.start + head + at) for at in pieces)
    elif len(inside) >= CODE and any(one.text in CODE_SIGNS for one in inside) and side_by_side * 10 <= len(inside):
        yield from (lexing.Token(one.kind, one.text, token.start + head + one.start) for one in inside)


def _parts(string: str) -> tuple[int, str]:
    """Where what a string says begins, and what it says."""
    quote = next((each for each in ('"""', "'''") if each in string[:5]), string.lstrip(LETTERS)[:1])
    head = string.index(quote) + len(quote)
    return head, string[head:].removesuffix(quote)


def _unescaped(text: str) -> str:
    return {"n": "\n", "t": " ", "r": " "}.get(text[1:], text[-1:])


def _blocks(a: _Text, b: _Text, given: set[int]) -> Iterator[Block]:
    """Stretches of both texts with the same fingerprints, those of the given text left out; each of `a` once."""
    run, in_a, in_b = RUNS[0], _tokens(a.text), _tokens(b.text)
    first, second = _prints(a.codes, run).tolist(), _prints(b.codes, run).tolist()
    where = {number: place for place, number in reversed(list(enumerate(second))) if number not in given}
    given_a, given_b = _given(first, given, run), _given(second, given, run)
    place = 0
    while place < len(first):
        other, length = where.get(first[place]), 0
        if other is None:
            place += 1
            continue
        while first[place + length : place + length + 1] == second[other + length : other + length + 1] != []:
            if first[place + length] in given:
                break
            length += 1
        size = length + run - 1
        given_too = zip(given_a[place : place + size], given_b[other : other + size], strict=True)
        own = [step for step, sides in enumerate(given_too) if not all(sides)]
        if own:  # at the edges of a block some tokens may be given
            yield _span(in_a, place + own[0], place + own[-1]), _span(in_b, other + own[0], other + own[-1])
        place += size


def _given(prints: Sequence[int], given: set[int], run: int) -> list[bool]:
    """For each token, whether it stands in a fingerprint of the given text."""
    found = [False] * (len(prints) + run - 1)
    for place in (place for place, number in enumerate(prints) if number in given):
        found[place : place + run] = [True] * run
    return found


def _span(tokens: Sequence[lexing.Token], first: int, last: int) -> tuple[int, int]:
    return tokens[first].start, tokens[last].start + len(tokens[last].text)
