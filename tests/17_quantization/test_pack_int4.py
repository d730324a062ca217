"""pack_int4 and unpack_int4. From simplest to hardest; the first that fails is the one you are shown."""

import numpy as np
import oracle_17 as oracle
import pytest
from checks_17 import check, works

PAIR = "mask with & 0xF, join with low | high << 4"
SIGN = "a nibble of 8 to 15 stands for nibble - 16: (nibble ^ 8) - 8, in int8"


def pack(student, q):
    with works(f"pack_int4(codes of shape {q.shape})", f"flatten, {PAIR}"):
        return student.pack_int4(q)


def unpack(student, packed, shape, *signed):
    packed = np.array(packed, np.uint8)
    with works(
        f"unpack_int4({packed.tolist()[:8]}, {shape})", "both nibbles side by side, [:size], then reshape(shape)"
    ):
        return student.unpack_int4(packed, shape, *signed)


@pytest.mark.part("pack_int4")
def test_the_first_code_goes_into_the_low_nibble(student):
    got = pack(student, np.array([1, 2], np.int8))
    slips = {
        "the nibbles are swapped: the *first* code goes into the low one, as in ONNX": [0x12],
        "two codes go into one byte: low | high << 4": [1, 2],
        "the high nibble begins at bit 4: << 4": [3],
    }
    if np.shape(got) == (2,):
        raise AssertionError(
            f"pack_int4([1, 2]): expected [33], got {np.asarray(got).tolist()}: two codes go into one byte"
        )
    check("pack_int4([1, 2])", got, [0x21], PAIR, slips=slips)


@pytest.mark.part("pack_int4")
def test_a_negative_code_keeps_its_low_four_bits(student):
    for codes, byte in (([-2, 1], 0x1E), ([1, -2], 0xE1), ([-1, -8], 0x8F)):
        got = pack(student, np.array(codes, np.int8))
        low, high = codes
        slips = {
            "the sign bits of the low code run over the high one: mask with & 0xF before you join": [
                (low | high << 4) % 256
            ],
            "8 was added to the codes; ONNX stores two's complement, so only mask with & 0xF": [
                (low + 8) | (high + 8) << 4
            ],
            "the nibbles are swapped: the first code goes into the low one": [(high % 16) | (low % 16) << 4],
        }
        check(f"pack_int4({codes})", got, [byte], PAIR, slips=slips)


@pytest.mark.part("pack_int4")
def test_the_bytes_are_uint8(student):
    got = pack(student, np.array([1, -2, 3, 4], np.int8))
    slips = {"the two codes of a byte are neighbours: low nibbles [0::2], high ones [1::2]": [0x31, 0x4E]}
    check("pack_int4([1, -2, 3, 4])", got, [0xE1, 0x43], PAIR, slips=slips, dtype="uint8")


@pytest.mark.part("pack_int4")
def test_an_odd_code_gets_a_zero_beside_it(student):
    got = pack(student, np.array([1, -2, 3], np.int8))
    slips = {"the filling zero goes behind the last code: into its high nibble": [0x10, 0x3E]}
    check("pack_int4([1, -2, 3])", got, [0xE1, 0x03], "fill up with a zero to an even number", slips=slips)
    check("pack_int4([1, -2, 3])", got, [0xE1, 0x03], "the filling zero must be a uint8 too", dtype="uint8")
    check("pack_int4([5])", pack(student, np.array([5], np.int8)), [5], "fill up with a zero to an even number")


@pytest.mark.part("pack_int4")
def test_unsigned_codes_reach_15(student):
    got = pack(student, np.array([15, 8, 0, 9], np.uint8))
    check("pack_int4([15, 8, 0, 9], uint8)", got, [0x8F, 0x90], PAIR, dtype="uint8")


@pytest.mark.part("pack_int4")
def test_a_matrix_is_packed_row_by_row(student):
    rows = "take the codes in the order of the rows (q.ravel()), whatever their order in memory"
    q = np.array([[1, 2, 3], [4, 5, 6]], np.int8)
    for name, given in (("a matrix", q), ("a matrix stored column by column", np.asfortranarray(q))):
        check(f"pack_int4 of {name}", pack(student, given), [0x21, 0x43, 0x65], rows)
    check("pack_int4 of every other code", pack(student, q.ravel()[::2]), [0x31, 0x05], rows)


@pytest.mark.part("pack_int4")
def test_nothing_packs_to_nothing(student):
    got = pack(student, np.zeros((0, 3), np.int8))
    check("pack_int4 of no codes", got, np.zeros(0), "no codes take no bytes", dtype="uint8")


@pytest.mark.part("pack_int4")
@pytest.mark.parametrize("codes", [[7, 8], [-9, 0]])
def test_a_code_that_does_not_fit_is_refused(student, codes):
    with pytest.raises(ValueError, match=r"\[-8, 7\]"):
        student.pack_int4(np.array(codes, np.int8))


@pytest.mark.part("unpack_int4")
def test_unpacking_brings_the_low_nibble_first(student):
    got = unpack(student, [0x21, 0x43], (4,))
    slips = {
        "the high nibble came first; the first code lies in the low one": [2, 1, 4, 3],
        "nibbles of one byte belong side by side: np.stack([low, high], axis=-1), not low ones first": [1, 3, 2, 4],
        "the high nibble must come down: >> 4": [1, 32, 3, 64],
        "only nibbles of 8 and more change, by 16; these stay as they are": [-7, -6, -5, -4],
    }
    check("unpack_int4([0x21, 0x43], (4,))", got, [1, 2, 3, 4], "low nibble first", slips=slips)


@pytest.mark.part("unpack_int4")
def test_unpacking_brings_the_sign_back(student):
    got = unpack(student, [0xE1, 0x8F], (4,))
    slips = {
        f"the sign is lost: {SIGN}": [1, 14, 15, 8],
        "8 must become -8, too": [1, -2, -1, 8],
        "a nibble stands for nibble - 16, not nibble - 15": [1, -1, 0, -7],
    }
    check("unpack_int4([0xE1, 0x8F], (4,))", got, [1, -2, -1, -8], SIGN, slips=slips)
    check("unpack_int4([0xE1, 0x8F], (4,))", got, got, "signed codes are int8", dtype="int8")


@pytest.mark.part("unpack_int4")
def test_unsigned_codes_come_back_unsigned(student):
    got = unpack(student, [0x8F, 0x90], (4,), False)
    slips = {"signed=False was ignored: these codes run from 0 to 15": [-1, -8, 0, -7]}
    check("unpack_int4([0x8F, 0x90], (4,), signed=False)", got, [15, 8, 0, 9], slips=slips)
    check("unpack_int4(..., signed=False)", got, got, "unsigned codes are uint8", dtype="uint8")


@pytest.mark.part("unpack_int4")
@pytest.mark.parametrize("shape", [(3,), (3, 5), (1, 1, 1), (), (0,), (2, 0)])
def test_codes_of_every_shape_come_back(student, shape):
    q = np.resize(np.arange(-8, 8), shape).astype(np.int8)
    got = unpack(student, oracle.pack(q.ravel().tolist()), shape)
    check(f"unpack_int4(..., {shape})", got, q, "drop the filling with [:size], then reshape(shape)", dtype="int8")


@pytest.mark.part("unpack_int4")
@pytest.mark.parametrize("signed", [True, False])
def test_every_byte_holds_its_two_codes(student, signed):
    every = np.arange(256, dtype=np.uint8)
    got = unpack(student, every, (512,), signed)
    check(f"unpack_int4 of all 256 bytes, signed={signed}", got, oracle.unpack(every.tolist(), 512, signed), SIGN)


@pytest.mark.part("pack_int4")
@pytest.mark.parametrize("signed", [True, False])
def test_every_pair_of_codes_has_its_byte(student, signed):
    every = np.arange(256, dtype=np.uint8)
    codes = np.array(oracle.unpack(every.tolist(), 512, signed), np.int8 if signed else np.uint8)
    check("pack_int4 of all pairs of codes", pack(student, codes), every, PAIR)
