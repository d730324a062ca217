"""What passes between judge and sandbox, how it arrives, and what a dishonest sandbox cannot send."""

from __future__ import annotations

import io
import json
import math
import struct
from dataclasses import replace

import numpy as np
import pytest

from tito.grading.sandbox import channel
from tito.grading.sandbox.channel import HEAD, Channel, ChannelBroken, Received, TooLarge
from tito.testing.proxies import Method, Ref


def passed(message: object, to_sandbox: bool) -> Received:
    """The message after its way over the line, to the sandbox or from it."""
    line = io.BytesIO()
    Channel(io.BytesIO(), line, trusting=not to_sandbox).send(message)
    line.seek(0)
    return Channel(line, io.BytesIO(), trusting=to_sandbox).receive()


def heard(text: object, raw: bytes = b"", head: bytes | None = None) -> Received:
    """What the judge makes of bytes that a sandbox wrote by itself."""
    data = text if isinstance(text, bytes) else json.dumps(text).encode()
    line = io.BytesIO((HEAD.pack(len(data), len(raw)) if head is None else head) + data + raw)
    return Channel(line, io.BytesIO()).receive()


@pytest.mark.parametrize("to_sandbox", [True, False], ids=["to the sandbox", "from the sandbox"])
@pytest.mark.parametrize(
    "value",
    [None, True, 3, -(2**80), -1.5, math.inf, "a \udcff\x00 text", b"\x00\xff", (), [], {}, (1, [2.0, {"a": (None,)}])],
    ids=repr,
)
def test_plain_values_arrive_as_they_went(value: object, to_sandbox: bool) -> None:
    got = passed(value, to_sandbox).message
    assert got == value and type(got) is type(value)


def test_not_a_number_keeps_its_bits() -> None:
    odd = struct.unpack("<d", bytes.fromhex("010000000000f8ff"))[0]
    assert struct.pack("<d", passed(odd, False).message).hex() == "010000000000f8ff"
    array = np.array([0x7FC00001, 0xFFC00002], np.uint32).view(np.float32)
    assert passed(array, False).message.tobytes() == array.tobytes()


@pytest.mark.parametrize("dtype", sorted(channel.DTYPES))
def test_every_dtype_of_numbers_arrives(dtype: str) -> None:
    array = np.arange(6).reshape(2, 3).astype(dtype)
    for to_sandbox in (True, False):
        got = passed(array, to_sandbox).message
        assert got.dtype.str == dtype and np.array_equal(got, array) and type(got) is np.ndarray
        scalar = passed(array[1, 1], to_sandbox).message
        assert type(scalar) is type(array[1, 1]) and scalar == array[1, 1]


LAYOUTS = {
    "strided": np.arange(24.0).reshape(4, 6)[::2, 1::2],
    "reversed": np.arange(24, dtype=">i4").reshape(4, 6)[::-1, ::-2],
    "fortran": np.asfortranarray(np.arange(6).reshape(2, 3)),
    "broadcast": np.broadcast_to(np.float32(1.5), (1000, 1000, 1000)),
    "one column broadcast": np.broadcast_to(np.arange(3)[:, None], (3, 4)),
    "0-d": np.array(2.5, np.float16),
    "empty": np.zeros((0, 3), np.int8),
    "windows": np.lib.stride_tricks.sliding_window_view(np.arange(6.0), 3),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_an_argument_arrives_with_its_layout(layout: str) -> None:
    array = LAYOUTS[layout]
    got = passed((array,), True).message[0]
    assert (got.shape, got.strides, got.dtype.str) == (array.shape, array.strides, array.dtype.str)
    assert got.flags.writeable == array.flags.writeable
    small = tuple(slice(0, 5) for _ in array.shape)
    assert np.array_equal(got[small], array[small])


def test_what_lies_between_the_numbers_of_an_argument_is_not_sent() -> None:
    answers = np.array([1, 0xDEADBEEF, 2, 0xDEADBEEF], np.uint32)
    got = passed(answers[::2], True).message
    memory = np.lib.stride_tricks.as_strided(got, (3,), (4,))
    assert memory.tolist() == [1, 0, 2], "the test's other numbers must not reach the sandbox"


def test_an_answer_is_a_base_array_of_its_own() -> None:
    got = passed(np.arange(6).reshape(2, 3).T, False).message
    assert (
        got.flags.owndata
        and got.flags.writeable
        and got.flags.c_contiguous
        and got.tolist() == [[0, 3], [1, 4], [2, 5]]
    )


def test_handles_arrive_and_methods_only_in_the_sandbox() -> None:
    ref = Ref(3, "Counter", "", 2)
    assert passed([ref], False) == Received([ref], [ref])
    assert passed(replace(ref, may_change=True), True).message.may_change and not passed(ref, True).message.may_change
    assert passed(Method(3, "method", "add"), True).message == Method(3, "method", "add")
    with pytest.raises(ChannelBroken):
        heard(["m", 3, "add"])


def test_a_name_that_a_terminal_would_obey_is_made_plain() -> None:
    assert heard(["r", 1, "\x1b[31mRed\n", "", 0]).message.type_name == "?[31mRed?"


@pytest.mark.parametrize(
    ("text", "raw"),
    [
        (b"{", b""),
        (b"\xff", b""),
        ({"a": 1}, b""),
        ([], b""),
        (["z"], b""),
        ([["t"]], b""),
        (["d", 1], b""),
        (["d", ["l"], 1], b""),
        (["f", "00"], b""),
        (["f", 3], b""),
        (["b", 5], b"1234"),
        (["b", -1], b"1234"),
        (["b", True], b"1"),
        (["r", "1", "T", "", 0], b""),
        (["r", 1], b""),
        (["a", "|O", [1], 8], b"12345678"),
        (["a", "<M8[s]", [1], 8], b"12345678"),
        (["a", "|V8", [1], 8], b"12345678"),
        (["a", "<U2", [1], 8], b"12345678"),
        (["a", "f8,f8", [1], 16], b"1234567812345678"),
        (["a", "<f8", [2], 8], b"12345678"),
        (["a", "<f8", [-1], 8], b"12345678"),
        (["a", "<f8", [2**40, 0, 2**40], 8], b"12345678"),
        (["a", "<f8", [True], 8], b"12345678"),
        (["a", "<f8", "1", 8], b"12345678"),
        (["a", "<f8", [1] * 33, 8], b"12345678"),
        (["a", "<f8", [channel.NUMBERS, 0], 0], b""),
        (["a", "<f8", [0, channel.NUMBERS], 0], b""),
        (
            ["a", "|i1", [channel.NUMBERS // 32 + 1, *[1] * 31], channel.NUMBERS // 32 + 1],
            bytes(channel.NUMBERS // 32 + 1),
        ),
        (["l", *[["a", "|i1", [channel.NUMBERS // 2 + 1, 0], 0]] * 2], b""),
        (["g", ["<f8"], 8], b"12345678"),
        (b"[" * 100_000, b""),
        (b'["t",' * 60 + b"1" + b"]" * 60, b""),
        (["l", *[["l"]] * (channel.ITEMS + 1)], b""),
        (["d", *range(2 * channel.PAIRS + 2)], b""),
        (b"1" * 5000, b""),
    ],
    ids=lambda part: repr(part)[:30],
)
def test_what_no_honest_sandbox_sends_is_refused(text: str, raw: bytes) -> None:
    with pytest.raises(ChannelBroken):
        heard(text, raw)


def test_sizes_are_checked_before_memory_is_taken() -> None:
    for sizes in ((channel.JSON_BYTES + 1, 0), (10, 1 << 60)):
        with pytest.raises(ChannelBroken, match="a message of"):
            heard(b"", head=HEAD.pack(*sizes))


def test_a_line_that_ends_early_is_broken() -> None:
    with pytest.raises(ChannelBroken, match="closed"):
        heard(b"", head=b"\x01\x02")
    with pytest.raises(ChannelBroken, match="closed"):
        heard(b"12", head=HEAD.pack(10, 0))


def test_a_line_is_broken_by_a_message_for_which_there_is_no_memory() -> None:
    class Full(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            raise MemoryError

    with pytest.raises(ChannelBroken, match="MemoryError"):
        Channel(Full(), io.BytesIO()).receive()
    with pytest.raises(MemoryError):
        Channel(Full(), io.BytesIO(), trusting=True).receive()


def test_a_claimed_layout_of_an_answer_is_ignored() -> None:
    got = heard(["a", "<f8", [2], 16, [1 << 40], True], bytes(16)).message
    assert got.strides == (8,)


def test_a_truth_value_is_0_or_1() -> None:
    got = heard(["a", "|b1", [3], 3], b"\x00\x02\xff").message
    assert got.view(np.uint8).tolist() == [0, 1, 1]


@pytest.mark.parametrize(
    "value",
    [
        np.zeros(channel.RAW_BYTES // 8 + 1),
        bytes(channel.RAW_BYTES + 1),
        np.zeros((channel.NUMBERS, 0)),
        [np.zeros((channel.NUMBERS // 4, 0), np.int8)] * 3,
        "x" * channel.JSON_BYTES,
        [[]] * (channel.ITEMS + 1),
        10**5000,
    ],
    ids=["bytes of numbers", "bytes", "rows without a number", "rows of several arrays", "text", "items", "digits"],
)
def test_an_answer_that_the_judge_would_not_take_is_not_sent(value: object) -> None:
    line = io.BytesIO()
    with pytest.raises(TooLarge):
        Channel(io.BytesIO(), line, trusting=True).send(value)
    assert line.getvalue() == b""


def test_a_list_that_holds_itself_is_not_sent() -> None:
    endless: list[object] = []
    endless.append(endless)
    with pytest.raises(TooLarge, match="nested deeper"):
        Channel(io.BytesIO(), io.BytesIO(), trusting=True).send(endless)
