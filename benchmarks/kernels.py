"""Our kernels against their peers: products, layers, passes, whole models; every answer checked before it is timed.

`tito bench` runs it, and so does `python -m benchmarks.kernels`.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.contest import REST, Contest, limit_threads, machine, plot, progress, write_json

EXAMPLE = "Example: tito bench --quick --only int8_matmul --json products.json"
SHAPES = [(1024, 1024), (768, 3072), (3072, 768), (4096, 4096), (1000, 1000), (257, 131)]
ROWS = [1, 8, 32, 128, 512, 1024]
PARTS = (
    "int8_matmul", "layers", "rows", "apart", "passes", "bf16", "int4", "few_bits", "weight_only", "models", "training",
    "conv", "networks",
)  # fmt: skip


def products(contest: Contest, peers: list[Any], shapes: list[tuple[int, int, int]]) -> None:
    """int8_matmul: uint8 activations, packed int8 weights, int32 sums."""
    import numpy as np

    from tinytorch.acceleration import int8_matmul, prepack_int8

    rng = np.random.default_rng(0)
    for m, k, n in shapes:
        a, b = rng.integers(0, 256, (m, k)).astype(np.uint8), rng.integers(-127, 128, (k, n)).astype(np.int8)
        packed, a32, b32 = prepack_int8(b), a.astype(np.float32), b.astype(np.float32)
        exact = a.astype(np.float64) @ b.astype(np.float64)
        assert (int8_matmul(a, packed) == exact).all(), "our product is not exact"
        others = {"numpy float32": lambda a=a32, b=b32: a @ b}
        for peer in peers:
            others |= peer.matmul(a, b)
        if "ort MatMulInteger" in others:
            assert (others["ort MatMulInteger"]() == exact).all(), "ONNX Runtime's product is not exact"
        if contest.ceiling and min(m, k, n) >= 512:
            from benchmarks.ceiling import ceiling

            others["ceiling"] = ceiling(2 * m * k * n)
        contest.run(f"int8_matmul {m}x{k}x{n}", lambda a=a, p=packed: int8_matmul(a, p), others, 2 * m * k * n)


def layers(contest: Contest, peers: list[Any], shapes: list[tuple[int, int, int]]) -> None:
    """Int8Linear: float32 in and out with dynamic quantization, and codes in and out."""
    import numpy as np

    from tinytorch.acceleration import Int8Linear, prepack_int8
    from tinytorch.quantization import UINT8, QParams, choose_qparams, quantize

    rng = np.random.default_rng(0)
    for m, k, n in shapes:
        x, w = rng.normal(size=(m, k)).astype(np.float32), rng.normal(size=(k, n)).astype(np.float32)
        scale = (np.abs(w).max(0) / np.float32(127)).astype(np.float32)
        q, bias = np.rint(w / scale).astype(np.int8), rng.normal(size=n).astype(np.float32)
        packed, exact = prepack_int8(q), x @ (q * scale) + bias
        layer = Int8Linear(packed, scale, bias)
        others = {"numpy float32": lambda x=x, w=w, bias=bias: x @ w + bias}
        for peer in peers:
            others |= peer.linear(x, q, scale, bias, w)
        for name, call in {"ours": lambda y=layer, x=x: y(x), **others}.items():
            error = np.abs(np.asarray(call()) - exact).max() / np.abs(exact).max()
            assert error < 0.05, f"{name} is wrong by {error:.1%}"
        contest.run(f"int8_linear {m}x{k}x{n}", lambda y=layer, x=x: y(x), others, 2 * m * k * n)
        qparams = choose_qparams(x.min(), x.max(), UINT8)
        out = choose_qparams(exact.min(), exact.max(), UINT8)
        whole = np.rint(bias / (qparams.scale * scale)).astype(np.int32)
        static, codes = (
            Int8Linear(packed, scale, whole, qparams, QParams(out.scale, out.zero_point, UINT8)),
            quantize(x, qparams),
        )
        others = {}
        for peer in peers:
            if hasattr(peer, "codes"):
                pair = [(float(r.scale), int(r.zero_point)) for r in (qparams, out)]
                others |= peer.codes(codes, q, scale, bias, *pair)
        for name, call in others.items():
            apart = np.abs(np.asarray(call().int_repr()).astype(int) - static(codes)).max()
            assert apart <= 1, f"{name} is {apart} codes away"
        contest.run(f"codes {m}x{k}x{n}", lambda y=static, c=codes: y(c), others, 2 * m * k * n)


def by_rows(contest: Contest, batches: list[int]) -> None:
    """Dynamic quantization with a scale for each row, or image, beside one scale for the whole input."""
    import numpy as np

    from tinytorch.acceleration import Int8Conv2d, Int8Linear, prepack_int8

    rng = np.random.default_rng(0)
    for k, n in [(64, 64), (512, 512), (784, 512), (3072, 768), (4096, 4096)]:
        packed, scale = prepack_int8(rng.integers(-127, 128, (k, n)).astype(np.int8)), np.full(n, 0.01, np.float32)
        one, each = (Int8Linear(packed, scale, per_row=per_row) for per_row in (False, True))
        for m in batches:
            x = rng.normal(size=(m, k)).astype(np.float32)
            assert (each(x) == np.concatenate([one(x[i : i + 1]) for i in range(m)])).all(), "rows differ from alone"
            others = {"one scale": lambda y=one, x=x: y(x)}
            contest.run(f"by rows {m}x{k}x{n}", lambda y=each, x=x: y(x), others, 2 * m * k * n)
    weights = rng.integers(-127, 128, (64, 32, 3, 3)).astype(np.int8)
    one, each = (Int8Conv2d(weights, 0.01, padding=1, per_row=per_row) for per_row in (False, True))
    for m in batches:
        x, work = rng.normal(size=(m, 32, 16, 16)).astype(np.float32), 2 * m * 256 * 288 * 64
        assert (each(x) == np.concatenate([one(x[i : i + 1]) for i in range(m)])).all(), "images differ from alone"
        contest.run(f"by rows {m} images", lambda y=each, x=x: y(x), {"one scale": lambda y=one, x=x: y(x)}, work)


def apart(contest: Contest, widths: list[int]) -> None:
    """Where a layer's time goes: its steps one by one, as calls of their own, beside the layer that does all in one."""
    import numpy as np

    from tinytorch.acceleration import Int8Linear, int8_matmul, prepack_int8, quantize
    from tinytorch.quantization import UINT8, choose_qparams

    rng, m = np.random.default_rng(0), 32
    for n in widths:
        x, w = (rng.normal(size=shape).astype(np.float32) for shape in ((m, n), (n, n)))
        scale, bias = (np.abs(w).max(0) / np.float32(127)).astype(np.float32), rng.normal(size=n).astype(np.float32)
        packed, qparams = prepack_int8(np.rint(w / scale).astype(np.int8)), choose_qparams(x.min(), x.max(), UINT8)
        layer, zero_point = Int8Linear(packed, scale, bias, qparams), int(qparams.zero_point)
        q, step = quantize(x, qparams), (scale * qparams.scale).astype(np.float32)
        acc = int8_matmul(q, packed, zero_point)
        steps = {
            "quantize": lambda x=x, p=qparams: quantize(x, p),
            "product": lambda q=q, p=packed, z=zero_point: int8_matmul(q, p, z),
            "dequantize in NumPy": lambda acc=acc, step=step, bias=bias: acc * step + bias,
            "numpy float32": lambda x=x, w=w, bias=bias: x @ w + bias,
        }
        contest.run(f"layer {m}x{n}x{n}", lambda y=layer, x=x: y(x), steps, 2 * m * n * n)


def passes(contest: Contest, peers: list[Any], sizes: list[int]) -> None:
    """quantize and dequantize, elementwise, beside a copy of the float32 array."""
    import numpy as np

    from tinytorch.acceleration import dequantize, quantize
    from tinytorch.quantization import UINT8, choose_qparams

    rng = np.random.default_rng(0)
    for size in sizes:
        x = rng.normal(size=(1, size)).astype(np.float32)
        qparams = choose_qparams(x.min(), x.max(), UINT8)
        q, down, up = quantize(x, qparams), {"numpy copy": x.copy}, {"numpy copy": x.copy}
        for peer in peers:
            each = peer.quantize(x, q, float(qparams.scale), int(qparams.zero_point))
            down, up = down | each[0], up | each[1]
        contest.run(f"quantize {size}", lambda x=x, p=qparams: quantize(x, p), down, size)
        contest.run(f"dequantize {size}", lambda q=q, p=qparams: dequantize(q, p), up, size)
        kept_q, kept_x = np.empty_like(q), np.empty_like(x)  # where the result need not be a new array
        contest.run(f"out= quantize {size}", lambda x=x, p=qparams, out=kept_q: quantize(x, p, out), down, size)
        contest.run(f"out= dequantize {size}", lambda q=q, p=qparams, out=kept_x: dequantize(q, p, out), up, size)


def halves(contest: Contest, peers: list[Any], shapes: list[tuple[int, int, int]]) -> None:
    """bf16_matmul of two plain arrays, both rounded at each call as in training, and with packed weights."""
    import numpy as np

    from tinytorch.acceleration import bf16_matmul, prepack_bf16

    rng = np.random.default_rng(0)
    for m, k, n in shapes:
        a, b = rng.normal(size=(m, k)).astype(np.float32), rng.normal(size=(k, n)).astype(np.float32)
        packed, others = prepack_bf16(b), {"numpy float32": lambda a=a, b=b: a @ b}
        error = np.abs(bf16_matmul(a, b) - a @ b).max() / np.abs(a @ b).max()
        assert error < 0.02, f"our bfloat16 product is wrong by {error:.1%}"
        for peer in peers:
            if hasattr(peer, "halves"):
                others |= peer.halves(a, b)
        contest.run(f"bf16_matmul {m}x{k}x{n}", lambda a=a, b=b: bf16_matmul(a, b), others, 2 * m * k * n)
        contest.run(f"bf16 packed {m}x{k}x{n}", lambda a=a, p=packed: bf16_matmul(a, p), others, 2 * m * k * n)


def models(contest: Contest, batches: list[int]) -> None:
    """Whole networks, accelerated, beside the same in float32."""
    import numpy as np

    from tinytorch.acceleration import accelerate
    from tinytorch.core import Conv2d, Flatten, Linear, MaxPool2d, ReLU, Sequential, no_grad
    from tinytorch.quantization import quantize_dynamic, quantize_static

    rng = np.random.default_rng(0)

    def perceptron(width: int) -> Any:
        layers = [layer for n in (784, width, width) for layer in (Linear(n, width, rng=rng), ReLU())]
        return Sequential(*layers, Linear(width, 10, rng=rng)), (784,)

    images = Sequential(
        Conv2d(1, 32, 3, padding=1, rng=rng), ReLU(), MaxPool2d(2), Conv2d(32, 64, 3, padding=1, rng=rng), ReLU(),
        MaxPool2d(2), Flatten(), Linear(64 * 49, 128, rng=rng), ReLU(), Linear(128, 10, rng=rng),
    )  # fmt: skip
    networks = {f"784-{w}-{w}-{w}-10": perceptron(w) for w in (64, 512, 1024)} | {"CNN 32-64": (images, (1, 28, 28))}
    for name, (model, shape) in networks.items():
        quantized = quantize_static(model, [rng.random((64, *shape)).astype(np.float32)])
        fast = {"static": accelerate(quantized), "dynamic": accelerate(quantize_dynamic(model))}
        for batch in batches:
            x = rng.random((batch, *shape)).astype(np.float32)
            assert (fast["static"](x).data == quantized(x).data).all(), "the accelerated model gives other bits"
            with no_grad():
                for kind, ours in fast.items():
                    contest.run(f"model {name} {kind} {batch}", lambda f=ours, x=x: f(x), {
                        "float32 NumPy": lambda m=model, x=x: m(x)}, batch)  # fmt: skip


def training(contest: Contest, width: int, batch: int) -> None:
    """A training step of a wide network, its products in bfloat16, beside float32; and what both have learned."""
    import numpy as np

    from tinytorch.core import Adam, Linear, ReLU, Sequential, accuracy, fit, load_digits, train_step
    from tinytorch.quantization import mixed_step

    data, learned, calls = load_digits(), [], {}
    x, y = (np.resize(array, (batch, *array.shape[1:])) for array in (data.x_train, data.y_train))
    for name, step in {"bfloat16": mixed_step("bfloat16"), "float32": train_step}.items():
        rng = np.random.default_rng(0)
        sizes = [data.x_train.shape[1], width, width, width]
        layers = [layer for a, b in zip(sizes, sizes[1:], strict=False) for layer in (Linear(a, b, rng=rng), ReLU())]
        model = Sequential(*layers, Linear(width, 10, rng=rng))
        optimizer = Adam(model.parameters())
        fit(model, data.x_train, data.y_train, 5, optimizer, batch_size=64, seed=0, step=step)
        learned.append(f"{name} {accuracy(model, data.x_test, data.y_test):.2%}")
        calls[name] = lambda step=step, model=model, optimizer=optimizer: step(model, optimizer, x, y)
    contest.run(
        f"training step of {width} wide, batch {batch}", calls["bfloat16"], {"float32": calls["float32"]}, batch
    )
    contest.tell(f"right answers after 5 epochs of the digits: {', '.join(learned)}")


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="tito bench", description=(__doc__ or "").splitlines()[0], epilog=EXAMPLE)
    parser.add_argument("--threads", type=int, default=1, help="for us and for every peer (default 1)")
    parser.add_argument("--only", default="", choices=PARTS, metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--quick", action="store_true", help="a few shapes, a few rounds")
    parser.add_argument("--rounds", type=int, help="how often all take turns (default 9; 5 with threads; 3 if quick)")
    parser.add_argument(
        "--least", action="store_true", help="count the least seconds of a burst: others compute here, too"
    )
    parser.add_argument("--json", type=Path, metavar="PATH")
    parser.add_argument("--plot", type=Path, metavar="PATH")
    options = parser.parse_args(arguments)
    limit_threads(options.threads)
    from benchmarks import few_bits, networks, peers  # after the limit, because it imports NumPy
    from tinytorch.acceleration import kernel, set_num_threads

    set_num_threads(options.threads)
    rounds = options.rounds or (3 if options.quick else 9 if options.threads == 1 else 5)
    contest = Contest(rounds=rounds, rest=0.0 if options.threads == 1 else REST, least=options.least)
    contest.ceiling = options.threads == 1 and kernel() != "numpy"
    head = {"machine": machine(), "threads": options.threads, "kernel": kernel(), "peers": peers.versions()}
    print(f"{head['machine']}; kernel {head['kernel']}, {options.threads} threads")
    print("  ".join(f"{name} {number}" for name, number in peers.versions().items()))
    others = peers.present(options.threads)
    shapes = [
        (m, k, n) for k, n in (SHAPES[:1] if options.quick else SHAPES) for m in (ROWS[::2] if options.quick else ROWS)
    ]
    sizes = [1 << 16, 1 << 20] if options.quick else [1 << 16, 1 << 20, 1 << 24]
    cubes = [(1, 1024, 1024), (32, 1024, 1024), (512, 512, 512), (1024, 1024, 1024)]
    batches = [1, 32] if options.quick else [1, 32, 256]
    few = [1, 8] if options.quick else [1, 2, 4, 8, 12, 16]
    parts: dict[str, tuple[int, Callable[[], None]]] = {  # how many cases, and what times them
        "int8_matmul": (len(shapes) + 1, lambda: products(contest, others, [*shapes, (512, 512, 512)])),
        "layers": (2 * len(shapes), lambda: layers(contest, others, shapes)),
        "rows": (6 * len(batches), lambda: by_rows(contest, batches)),
        "apart": (6, lambda: apart(contest, [64, 128, 256, 512, 1024, 2048])),
        "passes": (4 * len(sizes), lambda: passes(contest, others, sizes)),
        "bf16": (2 * len(cubes), lambda: halves(contest, others, cubes)),
        "int4": (4 * len(few), lambda: few_bits.int4(contest, few)),
        "few_bits": (6 * len(batches), lambda: few_bits.models(contest, batches)),
        "weight_only": (36, lambda: few_bits.weight_only(contest, others, [1, 8, 32])),
        "models": (8 * len(batches), lambda: models(contest, batches)),
        "training": (2, lambda: training(contest, 2048, 512)),
        "conv": (7, lambda: networks.convolutions(contest, others, networks.CONVOLUTIONS)),
        "networks": (23, lambda: networks.whole_networks(contest, options.threads, batches)),
    }
    wanted = [part for name, part in parts.items() if options.only in ("", name)]
    with progress(contest, sum(cases for cases, _ in wanted)):
        for _, run in wanted:
            run()
    names = {row.peer for row in contest.rows}
    contests = [
        ("int8_matmul", sorted(n for n in names if n.startswith(("ort MatMul", "torch _int")))),
        ("int8_matmul", ["numpy float32"]),
        ("int8_matmul", ["ceiling"]),
        ("int8_linear", sorted(n for n in names if n.startswith(("ort Dynamic", "torch dynamic")))),
        ("int8_linear", ["numpy float32"]),
        ("by rows", ["one scale"]),
        ("codes", sorted(n for n in names if n.startswith("torch static"))),
        ("quantize", ["ort QuantizeLinear", "torch quantize"]),
        ("dequantize", ["ort DequantizeLinear", "torch dequantize"]),
        ("quantize", ["numpy copy"]),
        ("dequantize", ["numpy copy"]),
        ("bf16", ["numpy float32"]),
        ("int4 by column", ["our INT8"]),
        ("few bits", ["in 8 bits"]),
        *((f"int4 groups of {group}", ["our INT8"]) for group in few_bits.BLOCKS[::-1]),
        *(
            (f"{bits}-bit activations, blocks of {block}", ["ort MatMulNBits"])
            for bits in (32, 8)
            for block in few_bits.BLOCKS
        ),
        ("model", ["float32 NumPy"]),
        ("conv", sorted(n for n in names if n.startswith("ort Q") or n == "ort channels last")),
        ("network", ["ort qdq", "ort qoperator"]),
        ("network", ["litert"]),
        ("network", ["ort qdq", "ort qoperator", "litert"]),
    ]
    cases = [row.case for row in contest.rows]
    for prefix, against in contests:
        if any(case.startswith(prefix) for case in cases) and names.intersection(against):
            print(contest.summary(prefix, against))
            if prefix.startswith(("int", "codes", "32", "8")):
                print(contest.table(prefix, against), end="\n\n")
    if options.json:
        write_json(options.json, contest, **head)
    if options.plot:
        plot(options.plot, contest, f"{head['kernel']}, {options.threads} threads")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
