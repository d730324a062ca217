"""sensitivity. From simplest to hardest; the first that fails is the one you are shown."""

import numpy as np
import oracle_17 as oracle
import pytest
from checks_17 import check, works

ALONE = "quantize_weights(model, {name: int_type}, axis): this layer's weights alone, everything else in float"
ROW = "Sensitivity(name, int_type, nbytes, sqnr_db(reference, outputs(quantized, x)), accuracy(quantized, x, y))"
SIZES = (6, 5, 3)
RNG = np.random.default_rng(17)
X = RNG.normal(size=(200, SIZES[0])).astype(np.float32)
WEIGHTS = [RNG.normal(size=(n, k)).astype(np.float32) for k, n in zip(SIZES, SIZES[1:], strict=False)]


def kinds(student):
    """The layers of tinytorch.core by name: the judged file imports the class they descend from."""
    return {kind.__name__: kind for kind in student.Module.__subclasses__()}


def linear(core, weight):
    layer = core["Linear"](weight.shape[1], weight.shape[0], False)
    layer.load_state_dict({"weight": weight})
    return layer


def network(student):
    """Linear, ReLU, Linear, with WEIGHTS and without bias."""
    core = kinds(student)
    first, second = (linear(core, weight) for weight in WEIGHTS)
    return core["Sequential"](first, core["ReLU"](), second)


def answers(model, x=X):
    return model(x).data


def labels(student):
    """What the float network says: its own accuracy is 1."""
    return answers(network(student)).argmax(1)


def table(student, model=None, bits=(2, 8), **options):
    model = network(student) if model is None else model
    with works("sensitivity(model, x, y, int_types)", ROW):
        rows = student.sensitivity(model, X, labels(student), [student.IntType(b) for b in bits], **options)
    assert isinstance(rows, list), f"sensitivity must return the list `table`, got {rows!r}"
    return rows


def told(rows):
    return [(row.layer, row.int_type.bits) for row in rows]


def db(wanted, got):
    return oracle.sqnr_db(wanted.ravel().tolist(), got.ravel().tolist())


def test_there_is_a_row_for_each_layer_and_type(student):
    got = told(table(student))
    wanted = [("layers.0", 2), ("layers.0", 8), ("layers.2", 2), ("layers.2", 8)]
    assert got == wanted, f"rows: expected {wanted}, got {got}: append one Sensitivity for each layer and each type"


def weights_db(student, number, row):
    codes = student.QuantizedTensor.from_float(WEIGHTS[number], student.IntType(row.int_type.bits), axis=0)
    return db(WEIGHTS[number], codes.dequantize())


def test_one_layer_is_quantized_at_a_time(student):
    model = network(student)
    rows = table(student, model)
    names, reference = ("layers.0", "layers.2"), answers(model)
    for row in rows:
        int_type = student.IntType(row.int_type.bits)
        alone, everything, other = (
            answers(student.quantize_weights(model, {name: int_type for name in chosen}))
            for chosen in ((row.layer,), names, tuple(set(names) - {row.layer}))
        )
        with_input = answers(student.quantize_dynamic(model, None, 0, {row.layer: int_type}))
        on_top = student.quantize_weights(model, {"layers.0": student.IntType(2)})
        slips = {
            "the layer's input was quantized, too: quantize_weights rounds the weights alone": db(
                reference, with_input
            ),
            "the weights of an earlier row were still rounded: round those of the same model each time": db(
                reference, answers(student.quantize_weights(on_top, {row.layer: int_type}))
            ),
            "every layer was quantized at once": db(reference, everything),
            "the other layer was quantized": db(reference, other),
            "the two were exchanged: sqnr_db(reference, quantized outputs)": db(alone, reference),
            "that is the ratio of powers; sqnr_db(...) says it in decibels": 10 ** (db(reference, alone) / 10),
            "not of the weights: sqnr_db compares the network's outputs": weights_db(
                student, names.index(row.layer), row
            ),
        }
        call = f"the SQNR of {row.layer} in {row.int_type.bits} bits"
        assert row.sqnr_db != np.inf, f"{call}: expected noise, got none: nothing was quantized; {ALONE}"
        other_type = f"sqnr_db(reference, outputs(quantized, x)), where quantized is {ALONE}"
        check(call, row.sqnr_db, db(reference, alone), other_type, slips=slips, within=1e-6)


def test_accuracy_is_that_of_the_quantized_network(student):
    model, y = network(student), labels(student)
    for row in table(student, model):
        quantized = student.quantize_weights(model, {row.layer: student.IntType(row.int_type.bits)})
        share = (answers(quantized).argmax(1) == y).mean()
        slips = {
            "that is the float network's accuracy": 1.0,
            "that is percent; accuracy is a share in [0, 1]": 100 * share,
        }
        if row.int_type.bits == 2:
            assert share < 0.99, "2 bits must cost something here"
        call = f"the accuracy with {row.layer} in {row.int_type.bits} bits"
        check(call, row.accuracy, share, "accuracy(quantized, x, y)", slips=slips, within=1e-9)


def test_bytes_are_those_of_the_weight_of_the_layer(student):
    """int2: 30 weights in 8 bytes and 15 in 4; a float32 scale a row, and one int32 zero point."""
    rows = table(student)
    wanted = [8 + 4 * 5 + 4, 30 + 4 * 5 + 4, 4 + 4 * 3 + 4, 15 + 4 * 3 + 4]
    check("the bytes of the rows", [row.nbytes for row in rows], wanted, "nbytes is computed above: pass it on, third")


def test_one_scale_a_matrix_is_passed_on(student):
    model = network(student)
    for row in table(student, model, axis=None):
        by_axis = {
            axis: db(answers(model), answers(student.quantize_weights(model, {row.layer: row.int_type}, axis)))
            for axis in (None, 0)
        }
        slips = {"axis was not passed on to quantize_weights: these are scales a row": by_axis[0]}
        call = f"the SQNR of {row.layer} in {row.int_type.bits} bits, axis None"
        check(call, row.sqnr_db, by_axis[None], "pass axis on", slips=slips, within=1e-6)


def test_more_bits_make_less_noise(student):
    rows = table(student, bits=(2, 3, 4, 6, 8))
    for name in ("layers.0", "layers.2"):
        found = [row.sqnr_db for row in rows if row.layer == name]
        assert found == sorted(found) and len(found) == 5, f"{name}: SQNR must grow with the bits, got {found}: {ALONE}"


def test_layers_are_found_wherever_they_are(student):
    core = kinds(student)
    conv = core["Conv2d"](1, 2, 2)
    inner = core["Residual"](linear(core, np.eye(8, dtype=np.float32)))
    model = core["Sequential"](core["Sequential"](conv, core["Flatten"]()), inner)
    x = RNG.normal(size=(20, 1, 3, 3)).astype(np.float32)
    with works("sensitivity of nested layers", ROW):
        rows = student.sensitivity(model, x, np.zeros(20, np.int64), [student.IntType(4)])
    names = [row.layer for row in rows]
    wanted = ["layers.0.layers.0", "layers.1.block"]
    assert names == wanted, f"rows: expected layers {wanted}, got {names}: model.named_modules() knows their names"
    identity = "the identity is exact in 4 bits"
    assert rows[1].sqnr_db > rows[0].sqnr_db, f"{identity}: {rows[1].sqnr_db} and {rows[0].sqnr_db} dB"


@pytest.mark.parametrize("training", [True, False])
def test_the_model_stays_as_it_was(student, training):
    model = network(student).train(training)
    before = answers(model)
    table(student, model)
    check(
        "the model's answer afterwards", answers(model), before, "quantize_weights makes a new model; keep the old one"
    )
    assert model.training is training, f"the model's training mode was {training}, now it is {model.training}"


def test_one_sample_is_enough(student):
    x, y = X[:1], labels(student)[:1]
    with works("sensitivity of one sample", ROW):
        (row, *_) = student.sensitivity(network(student), x, y, [student.IntType(8)])
    assert row.accuracy == 1, f"the float network's own label at 8 bits: expected accuracy 1, got {row.accuracy}: {ROW}"


def test_accuracy_asks_the_labels_not_the_float_network(student):
    model, wrong = network(student), (labels(student) + 1) % 3
    with works("sensitivity(model, x, y, [8 bits])", ROW):
        rows = student.sensitivity(model, X, wrong, [student.IntType(8)])
    agreement = "that is how often both networks agree; accuracy compares with y: accuracy(quantized, x, y)"
    for row in rows:
        assert row.accuracy < 0.1, (
            f"every label is one that the float network does not say, got {row.accuracy}: {agreement}"
        )
