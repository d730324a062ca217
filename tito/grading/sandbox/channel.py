"""What passes between the judge and the sandbox: length-prefixed JSON, and after it the arrays' bytes. No pickle.

Sizes are checked before memory is taken, dtypes against a list, depth and number of items against a cap: whatever the
other side sends, it becomes plain values and base arrays, or `ChannelBroken`.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Sequence
from typing import IO, Any, NamedTuple

import numpy as np

from tito.testing.arguments import laid_out, once
from tito.testing.proxies import Method, Ref

HEAD = struct.Struct("<IQ")  # bytes of JSON, bytes of arrays
# What one answer may hold: some twenty times what the largest of module 17 does. A test makes lists, texts and
# differences of it, which take up to a hundred times as much.
JSON_BYTES = 1 << 20
RAW_BYTES = 8 << 20
NUMBERS = 4 << 20  # of all arrays together, times their dimensions: as lists, also arrays without a number have a size
DEPTH = 40
ITEMS = 20_000
PAIRS = 2_000  # of all dictionaries together: keys may be made to collide, and then take the square of their number
DIMENSIONS = 32  # what every NumPy can hold
LONGEST_NAME = 100  # of a type, as a handle shows it; of a method that is told
KINDS, METHODS = 1_000, 200  # that a sandbox tells of: kinds of object, and the methods of each
_NAMES = {order + np.dtype(code).str[1:] for code in "hHiIlLqQefdgFDG" for order in "<>"} | {"|b1", "|i1", "|u1"}
DTYPES = {name: np.dtype(name) for name in _NAMES}
AS_IT_IS = frozenset({type(None), bool, int, str})  # what JSON says by itself


class ChannelBroken(Exception):
    """The other side is gone, or does not keep to the protocol."""


class TooLarge(MemoryError):
    """A value that may not be sent: it is larger, deeper or longer than the other side would take."""


class Received(NamedTuple):
    """A message, and the handles in it, in order."""

    message: Any
    refs: list[Ref]


class Channel:
    """One end of the line. `trusting` is the sandbox: it takes from the judge what the judge would not take from it."""

    def __init__(self, reading: IO[bytes], writing: IO[bytes], trusting: bool = False) -> None:
        self._reading, self._writing, self._trusting = reading, writing, trusting

    def send(self, message: Any) -> None:
        """Send a message. Raises TooLarge before anything is sent."""
        encoder = _Encoder(layouts=not self._trusting)
        text = encoder.text(message)
        try:
            self._writing.write(b"".join([HEAD.pack(len(text), encoder.size), text, *encoder.raw]))
            self._writing.flush()
        except (OSError, ValueError):
            raise ChannelBroken("the line is closed") from None

    def receive(self) -> Received:
        """The next message. Raises ChannelBroken."""
        text_size, raw_size = HEAD.unpack(self._read(HEAD.size))
        if not self._trusting and (text_size > JSON_BYTES or raw_size > RAW_BYTES):
            raise ChannelBroken(f"a message of {text_size + raw_size} bytes")
        text, raw = self._read(text_size), self._read(raw_size) if raw_size else b""
        decoder = _Decoder(memoryview(raw), self._trusting)
        try:
            message = decoder.value(_parsed(text.decode("ascii")), 0)
        except Exception as error:  # whatever it sent, it is no message
            raise ChannelBroken(f"a message that cannot be read ({type(error).__name__})") from None
        return Received(message, decoder.refs)

    def _read(self, size: int) -> bytes:
        try:
            data = self._reading.read(size)
        except MemoryError:
            if self._trusting:
                raise  # the student's code has filled the sandbox, and is told so
            raise ChannelBroken("a message that cannot be read (MemoryError)") from None  # half of it is still there
        except (OSError, ValueError):
            data = b""
        if len(data) != size:
            raise ChannelBroken("the line is closed")
        return data


_raw_decode = json.JSONDecoder().raw_decode


def _parsed(text: str) -> Any:
    """As `json.loads`, with less around it: messages are many, short, and have no blanks before or after them."""
    value, end = _raw_decode(text)
    if end != len(text):
        raise ValueError("more than one message")
    return value


class _Encoder:
    """Values as JSON, arrays set aside as bytes. A list names what JSON has no word for: ["t", ...] is a tuple."""

    def __init__(self, layouts: bool) -> None:
        self._layouts = layouts
        self.raw, self.size, self._items, self._pairs, self._numbers = list[bytes](), 0, 0, 0, 0

    def text(self, message: Any) -> bytes:
        try:
            text = json.dumps(self._value(message, 0)).encode("ascii")
        except ValueError as error:  # an integer of thousands of digits, a list that holds itself
            raise TooLarge(str(error)) from None
        if not self._layouts and len(text) > JSON_BYTES:
            raise TooLarge(f"the answer takes {len(text)} bytes, and may take up to {JSON_BYTES}")
        return text

    def _value(self, value: Any, depth: int) -> Any:
        kind = type(value)
        if kind in AS_IT_IS:
            return value
        if kind is float:
            return value if math.isfinite(value) else ["f", struct.pack("<d", value).hex()]  # every NaN has its bits
        self._count(depth)
        if kind is tuple or kind is list:
            parts = [item if type(item) in AS_IT_IS else self._value(item, depth + 1) for item in value]
            return ["t" if kind is tuple else "l", *parts]
        if kind is dict:
            self._pairs += len(value)
            if not self._layouts and self._pairs > PAIRS:
                raise TooLarge(f"the answer holds dictionaries of more than {PAIRS} entries")
            return ["d", *(self._value(part, depth + 1) for pair in value.items() for part in pair)]
        if kind is bytes:
            return ["b", self._aside(value)]
        if kind is Ref:
            names = value.type_name[:LONGEST_NAME], value.label[:LONGEST_NAME]
            return ["r", value.number, *names, value.kind, *([True] if value.may_change else [])]
        if kind is Method:
            return ["m", value.number, value.label]
        if isinstance(value, np.generic):
            return ["g", value.dtype.str, self._aside(value.tobytes())]
        return self._array(value)

    def _count(self, depth: int) -> None:
        self._items += 1
        if depth > DEPTH or self._items > ITEMS:
            raise TooLarge(f"the answer is nested deeper than {DEPTH}, or holds more than {ITEMS} parts")

    def _array(self, array: np.ndarray) -> list[Any]:
        """The numbers, densely; and where the layout counts, how they lay in memory. What lay between is not sent."""
        self._numbers += _numbers(array.shape)
        if not self._layouts:
            if self._numbers > NUMBERS:
                raise TooLarge(f"the answer holds arrays of more than {NUMBERS} numbers, times their dimensions")
            return ["a", array.dtype.str, array.shape, self._aside(array.tobytes())]
        dense = array if array.flags.c_contiguous else array[once(array.shape, array.strides)]
        return ["a", array.dtype.str, array.shape, self._aside(dense.tobytes()), array.strides, array.flags.writeable]

    def _aside(self, data: bytes) -> int:
        self.size += len(data)
        if not self._layouts and self.size > RAW_BYTES:
            raise TooLarge(f"the answer takes more than {RAW_BYTES} bytes")
        self.raw.append(data)
        return len(data)


def _numbers(shape: Sequence[int]) -> int:
    """What an array may come to cost as lists, whichever of its dimensions comes first, and whichever is empty."""
    return math.prod(max(1, length) for length in shape) * len(shape)


class _Decoder:
    def __init__(self, raw: memoryview, trusting: bool) -> None:
        self._raw, self._at, self._trusting, self._items, self._pairs, self._numbers = raw, 0, trusting, 0, 0, 0
        self.refs = list[Ref]()

    def value(self, value: Any, depth: int) -> Any:
        if type(value) is not list:
            if type(value) is not float and type(value) not in AS_IT_IS:
                raise ValueError("an object")
            return value
        self._items += 1
        if not self._trusting and (depth > DEPTH or self._items > ITEMS):
            raise ValueError("too deep, or too many")
        tag, rest = value[0], value[1:]
        match tag:
            case "t":
                return tuple(self._parts(rest, depth))
            case "l":
                return self._parts(rest, depth)
            case "d":
                self._pairs += len(rest) // 2
                if not self._trusting and self._pairs > PAIRS:
                    raise ValueError("too many entries")
                parts = iter(self._parts(rest, depth))
                return dict(zip(parts, parts, strict=True))
            case "f":
                return struct.unpack("<d", bytes.fromhex(rest[0]))[0]
            case "b":
                return bytes(self._take(rest[0]))
            case "r":
                ref = self._ref(*rest)
                self.refs.append(ref)
                return ref
            case "m" if self._trusting:
                return Method(rest[0], "method", rest[1])
            case "g":
                return self._dense(rest[0], (), rest[1])[()]
            case "a":
                return self._array(*rest)
        raise ValueError("an unknown kind of value")

    def _parts(self, rest: list[Any], depth: int) -> list[Any]:
        return [item if type(item) in AS_IT_IS else self.value(item, depth + 1) for item in rest]

    def _ref(self, number: Any, type_name: Any, label: Any, kind: Any, may_change: Any = False) -> Ref:
        if type(number) is not int or type(kind) is not int or type(type_name) is not str or type(label) is not str:
            raise ValueError("a handle without a number")
        names = _printable(type_name[:LONGEST_NAME]), _printable(label[:LONGEST_NAME])
        return Ref(number, *names, kind, may_change is True)

    def _take(self, size: Any) -> memoryview:
        if type(size) is not int or not 0 <= size <= len(self._raw) - self._at:
            raise ValueError("fewer bytes than announced")
        self._at += size
        return self._raw[self._at - size : self._at]

    def _array(self, dtype: Any, shape: Any, size: Any, strides: Any = None, writeable: Any = True) -> np.ndarray:
        if not (len(shape) <= DIMENSIONS and all(type(length) is int and length >= 0 for length in shape)):
            raise ValueError("an impossible shape")
        self._numbers += _numbers(shape)
        if not self._trusting and self._numbers > NUMBERS:
            raise ValueError("too many numbers")
        if not (self._trusting and strides is not None):
            return self._dense(dtype, tuple(shape), size)
        shape, strides = tuple(shape), tuple(strides)
        cut = tuple([index.stop or length for index, length in zip(once(shape, strides), shape, strict=True)])
        array = self._dense(dtype, cut, size)
        if cut != shape or array.strides != strides:
            array = laid_out(array, shape, strides)
        array.flags.writeable = writeable
        return array

    def _dense(self, dtype: Any, shape: tuple[int, ...], size: Any) -> np.ndarray:
        """A base array of its own, of a known dtype and of exactly the bytes that are there."""
        if dtype not in DTYPES:
            raise ValueError("a dtype that is not on the list")
        kind = DTYPES[dtype]
        if math.prod(shape) * kind.itemsize != size:
            raise ValueError("a shape that its bytes do not fill")
        array: np.ndarray = np.ndarray(shape, kind, self._take(size)).copy()
        if kind.kind == "b":
            array = array.view(np.uint8) != 0  # a byte of 2 would be neither True nor False
        return array


def _printable(name: str) -> str:
    return name if name.isprintable() else "".join(letter if letter.isprintable() else "?" for letter in name)
