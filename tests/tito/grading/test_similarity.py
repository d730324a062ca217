"""Similarity: copies are found through new names and layouts; what is given, short or common says nothing."""

from __future__ import annotations

import base64
import random
import re

import pytest

from tito.grading import similarity
from tito.grading.similarity import MOST_PAIRS, Pair, pairs
from tito.grading.submission import Submission

GIVEN = '''def f(x, bits, qmin, qmax):
    """Codes of x: an array of integers, one for each number.

    >>> f([0.5, -1.0], 8, -128, 127)
    """
    check = [value for value in (bits, qmin, qmax) if not isinstance(value, int)]
    assert not check, f"expected integers, got {check}"
    raise NotImplementedError("exercise f: your code is not written yet")
'''
HEAD = GIVEN.partition("    raise")[0]
STEPS = [  # the ways in which people write each step
    ["lo = np.minimum(x.min(), 0)", "lo = min(x.min(), 0.0)", "lo = x.min()\n    lo = lo if lo < 0 else 0"],
    ["hi = np.maximum(x.max(), 0)", "hi = max(x.max(), 0.0)", "hi = x.max() if x.max() > 0 else 0"],
    ["steps = (1 << bits) - 1", "steps = 2 ** bits - 1", "steps = len(range(1, 2 ** bits))"],
    ["scale = (hi - lo) / steps", "scale = np.divide(hi - lo, steps)", "width = hi - lo\n    scale = width / steps"],
    ["scale = scale or 1.0", "if scale == 0:\n        scale = 1.0", "scale = max(scale, 1e-12)"],
    ["zero = np.rint(qmin - lo / scale)", "zero = round(qmin - lo / scale)", "zero = qmin - np.round(lo / scale)"],
    ["zero = np.clip(zero, qmin, qmax)", "zero = max(qmin, min(qmax, zero))", "if zero < qmin:\n        zero = qmin"],
    ["q = np.rint(x / scale) + zero", "q = (x / scale).round() + zero", "q = np.add(np.rint(x / scale), zero)"],
    ["q = q.clip(qmin, qmax)", "q = np.clip(q, qmin, qmax)", "q[q < qmin] = qmin\n    q[q > qmax] = qmax"],
    ["return q.astype(np.int8)", "return np.int8(q)", "return np.array(q, dtype=np.int8)"],
]


def solution(pick: random.Random) -> str:
    return HEAD + "".join(f"    {pick.choice(ways)}\n" for ways in STEPS)


def disguised(text: str) -> str:
    """The same with other names, comments and layout."""
    body = text.removeprefix(HEAD)
    for old, new in (("scale", "factor"), ("zero", "middle"), ("lo", "smallest"), ("steps", "count")):
        body = body.replace(old, new)
    return HEAD + body.replace("\n    ", "  # so it is\n\n    ").replace(", ", ",\n        ")


def a_class(people: int, exercises: int = 1) -> list[Submission]:
    """People who each choose their own way, the same at every call."""
    pick = random.Random(people)
    return [
        Submission(f"student {n:03}", {f"e{k}": (solution(pick),) for k in range(exercises)}) for n in range(people)
    ]


def base(exercises: int = 1) -> dict[str, tuple[str, ...]]:
    return {f"e{k}": (GIVEN,) for k in range(exercises)}


def who(found: list[Pair]) -> set[frozenset[str]]:
    return {frozenset((pair.first, pair.second)) for pair in found}


@pytest.mark.parametrize("people", [2, 10, 40])
def test_a_copy_is_found_through_new_names_comments_and_layout(people: int) -> None:
    students = a_class(people)
    students.append(Submission("copycat", {"e0": (disguised(students[1].cells["e0"][0]),)}))
    best = pairs(students, base())[0]
    assert {best.first, best.second} == {"copycat", "student 001"}
    assert best.score == pytest.approx(1.0)
    assert (best.exercise, best.first_text) == ("e0", students[1].cells["e0"][0])
    assert best.second_text == students[-1].cells["e0"][0]


def test_new_names_for_what_was_given_hide_nobody() -> None:
    students = a_class(10)
    text = students[1].cells["e0"][0]
    for given in ("x", "bits", "qmin", "qmax", "check", "value"):
        text = re.sub(rf"\b{given}\b", f"my_{given}", text)
    best = pairs([*students, Submission("copycat", {"e0": (text,)})], base())[0]
    assert {best.first, best.second} == {"copycat", "student 001"} and best.score == pytest.approx(1.0)


def test_people_who_worked_by_themselves_are_not_paired_throughout_the_module() -> None:
    students = a_class(40, exercises=10)
    copied: dict[str, tuple[str, ...]] = {key: (disguised(cells[0]),) for key, cells in students[1].cells.items()}
    found = pairs([*students, Submission("copycat", copied)], base(10))
    alike = [pair for pair in found if {pair.first, pair.second} == {"copycat", "student 001"}]
    assert len(alike) == 10 and found[:10] == alike, "the copies come first"
    others = [sum(1 for pair in found if {pair.first, pair.second} == names) for names in who(found[10:])]
    assert max(others, default=0) <= 2, "chance makes one exercise alike, not many"


def test_what_was_given_says_nothing() -> None:
    untouched = [Submission(name, {"e0": (GIVEN,)}) for name in "ab"]
    assert pairs(untouched, base()) == []
    started = [Submission(name, {"e0": (HEAD + f"    return {name}\n",)}) for name in ("x.min()", "1 - bits")]
    assert pairs(started, base()) == []


def test_a_short_solution_says_nothing_even_where_only_two_wrote_it() -> None:
    students = a_class(20)
    short = HEAD + "    return np.rint(x / bits).clip(qmin, qmax)\n"
    students += [Submission(name, {"e0": (short,)}) for name in ("ada", "bob")]
    assert frozenset(("ada", "bob")) not in who(pairs(students, base()))


def test_what_half_a_class_wrote_says_nothing() -> None:
    students = a_class(20)
    obvious = HEAD + "".join(f"    {ways[0]}\n" for ways in STEPS)
    crowd = [Submission(f"one of many {n}", {"e0": (obvious,)}) for n in range(20)]
    found = pairs(students + crowd, base())
    assert not [pair for pair in found if pair.first.startswith("one") and pair.second.startswith("one")]


def test_blocks_show_what_corresponds_and_leave_out_what_was_given() -> None:
    text = solution(random.Random(5))
    (pair,) = pairs([Submission("a", {"e0": (text,)}), Submission("b", {"e0": (disguised(text),)})], base())
    first = [pair.first_text[begin:end] for (begin, end), _ in pair.blocks]
    second = [pair.second_text[begin:end] for _, (begin, end) in pair.blocks]
    assert "".join(first).count("\n") >= 8, "nearly the whole solution"
    assert all("Codes of x" not in part and "assert check" not in part for part in first + second)
    assert all("got {check}" not in part for part in first + second), "not even the last words of what was given"
    assert [" ".join(one.split()) for one in first] != [" ".join(one.split()) for one in second]
    assert [disguised(HEAD + one).count("factor") for one in first] == [one.count("factor") for one in second]


def test_the_order_of_submissions_does_not_matter() -> None:
    students = a_class(30, exercises=3)
    students.append(Submission("copycat", students[7].cells))
    found = {(frozenset((p.first, p.second)), p.exercise, round(p.score, 9)) for p in pairs(students, base(3))}
    random.Random(1).shuffle(students)
    again = {(frozenset((p.first, p.second)), p.exercise, round(p.score, 9)) for p in pairs(students, base(3))}
    assert found == again != set()


@pytest.mark.parametrize(
    "text",
    ["", "(" * 100_000, "'''" * 30_000, "a " * 50_000, "\0\ud800é" * 10_000, "x = 1\n" * 20_000, "lambda " * 20_000],
    ids=["nothing", "brackets", "quotes", "a name", "no text", "lines", "lambdas"],
)
def test_hostile_texts_are_compared_like_others_and_hide_nobody(text: str) -> None:
    students = a_class(8)
    students.append(Submission("copycat", {"e0": (disguised(students[3].cells["e0"][0]),)}))
    hostile = [Submission(f"hostile {n}", {"e0": (text + str(n),)}) for n in range(3)]
    best = next(pair for pair in pairs([*hostile, *students], base()) if "hostile" not in pair.first)
    assert {best.first, best.second} == {"copycat", "student 003"}


def test_a_crowd_that_shares_everything_by_twos_gives_a_bounded_number_of_pairs() -> None:
    crowd = [
        Submission(f"{ring}-{n}", {"e0": (f"def f(x):\n    return {' + '.join(f'x[{ring}{k}]' for k in range(300))}",)})
        for ring in range(30)
        for n in range(20)
    ]
    found = pairs(crowd, {"e0": ("def f(x):\n    pass",)})
    assert len(found) == MOST_PAIRS
    assert all(pair.first.split("-")[0] == pair.second.split("-")[0] for pair in found)


def test_no_submissions_and_missing_exercises_are_no_pairs() -> None:
    assert pairs([], base()) == [] == pairs([Submission("a", {})], base()) == pairs(a_class(3), {})
    assert pairs([*a_class(1), Submission("b", {}), Submission("c", {"other": ("x",)})], base()) == []


def test_fingerprints_do_not_depend_on_pythons_hash() -> None:
    codes = similarity._Tokenizer([GIVEN]).read("", [solution(random.Random(3))]).codes
    assert codes.tolist() == similarity._Tokenizer([GIVEN]).read("", [solution(random.Random(3))]).codes.tolist()
    assert (
        int(similarity._prints(codes[:12], 12)[0])
        == sum(int(code) * pow(0x9E3779B97F4A7C15, 11 - place, 2**64) for place, code in enumerate(codes[:12])) % 2**64
    )


def packed(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


BODY = "".join(f"    {ways[0]}\n" for ways in STEPS)
IN_STRINGS = {
    "exec of a text": lambda text: f"exec('''\n{text}''')\n",
    "exec of a raw text": lambda text: f'exec(r"""{text}""")\n',
    "exec of escaped lines": lambda text: f"exec({text!r})\n",
    "exec of joined lines": lambda text: f"exec(chr(10).join({text.splitlines()!r}))\n",
    "exec of bytes": lambda text: f"exec({text.encode()!r})\n",
    "exec of packed text": lambda text: f"exec(base64.b64decode('{packed(text)}'))\n",
}


@pytest.mark.parametrize("way", IN_STRINGS)
def test_two_who_hide_the_same_solution_in_a_string_are_alike(way: str) -> None:
    students = a_class(10)
    hidden = HEAD.partition("\n")[0] + "\n    " + IN_STRINGS[way](students[1].cells["e0"][0].removeprefix(HEAD))
    students += [Submission(name, {"e0": (hidden,)}) for name in ("ada", "bob")]
    assert frozenset(("ada", "bob")) in who(pairs(students, base()))


def test_code_in_a_string_is_found_through_new_names_and_beside_the_plain_solution() -> None:
    students = a_class(10)
    text = students[1].cells["e0"][0]
    hidden = f"exec('''\n{disguised(text)}''')\n"
    found = pairs([*students, Submission("copycat", {"e0": (hidden,)})], base())
    assert frozenset(("copycat", "student 001")) in who(found)
    (pair,) = (one for one in found if "copycat" in (one.first, one.second))
    shown = pair.first_text if pair.first == "copycat" else pair.second_text
    spans = [block[0] if pair.first == "copycat" else block[1] for block in pair.blocks]
    assert any("factor" in shown[begin:end] for begin, end in spans), "blocks lie inside of the string"


@pytest.mark.parametrize("text", ["Codes of x, an array of integers", "expected integers, got {check}", "int8", ""])
def test_prose_in_a_string_is_no_code(text: str) -> None:
    assert [token.kind for token in similarity._tokens(f"f({text!r})")] == ["name", "operator", "string", "operator"]
