"""Other people's INT8 on the same arrays: ONNX Runtime and PyTorch. An absent one is named, not skipped over."""

import platform
import warnings
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

Call = Callable[[], Any]
ENGINES: tuple[str, ...] = ("x86", "fbgemm", "onednn")
if platform.machine().lower() not in ("x86_64", "amd64"):
    ENGINES += ("qnnpack",)  # made for ARM: elsewhere the slowest by far, and its threads spin for 45 ms after a call


def versions() -> dict[str, str]:
    """Every peer's version; "absent" for what `pip install -e ".[bench]"` would install."""
    found = {}
    for package in ("numpy", "onnx", "onnxruntime", "torch", "numba"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "absent"
    return found


class OnnxRuntime:
    """One-node models, weights as initializers so that they are packed once."""

    def __init__(self, threads: int) -> None:
        import onnxruntime

        self.options = onnxruntime.SessionOptions()
        self.options.intra_op_num_threads, self.options.inter_op_num_threads = threads, 1
        self.options.log_severity_level = 3
        self.session = onnxruntime.InferenceSession

    def model(
        self, op: str, inputs: dict[str, Any], weights: dict[str, Any], out: Any, order: str, domain: str = "",
        **attributes: Any,
    ) -> Any:  # fmt: skip
        """A call of one operator."""
        from onnx import helper

        node = helper.make_node(op, order.split(" "), ["y"], domain=domain, **attributes)
        return self.graph([node], inputs, weights, out)

    def graph(self, nodes: list[Any], inputs: dict[str, Any], weights: dict[str, Any], out: Any) -> Any:
        """A call of a few, the last of which gives y."""
        from onnx import TensorProto, helper, numpy_helper

        kinds = {n: helper.np_dtype_to_tensor_dtype(a.dtype) for n, a in inputs.items()}
        shapes = {n: ["m", *a.shape[1:]] for n, a in inputs.items()}
        graph = helper.make_graph(
            nodes, "g",
            [helper.make_tensor_value_info(n, kinds[n], shapes[n]) for n in inputs],
            [helper.make_tensor_value_info("y", getattr(TensorProto, out), None)],
            [numpy_helper.from_array(a, n) for n, a in weights.items()],
        )  # fmt: skip
        opsets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
        session = self.session(model.SerializeToString(), self.options, providers=["CPUExecutionProvider"])
        return lambda: session.run(None, inputs)[0]

    def matmul(self, a: Any, b: Any) -> dict[str, Call]:
        return {"ort MatMulInteger": self.model("MatMulInteger", {"a": a}, {"b": b}, "INT32", "a b")}

    def linear(self, x: Any, q: Any, scale: Any, bias: Any, real: Any) -> dict[str, Call]:
        """q: int8 [K, N]; scale, bias: [N]; real: float32 [K, N]."""
        weights = {"b": q, "s": scale, "z": np.zeros(len(scale), np.int8), "c": bias}
        dynamic = self.model("DynamicQuantizeMatMul", {"a": x}, weights, "FLOAT", "a b s z c", "com.microsoft")
        return {
            "ort DynamicQuantizeMatMul": dynamic,
            "ort float32": self.model("Gemm", {"a": x}, {"b": real, "c": bias}, "FLOAT", "a b c"),
        }

    def conv(self, x: Any, q: Any, layer: dict[str, Any]) -> dict[str, Call]:
        """x: uint8 [N, C, H, W]; q: int8 [out, in / groups, rows, columns]. Three ways to say one convolution: the
        operator of the standard, float between DequantizeLinear and QuantizeLinear, and ONNX Runtime's own, whose
        channels come last as ours do in memory."""
        from onnx import helper

        windows = {name: layer[name] for name in ("strides", "pads", "group")}
        weights = {name: layer[name] for name in ("xs", "xz", "ws", "wz", "ys", "yz", "b")} | {"w": q}
        order = "x xs xz w ws wz ys yz b"
        last = np.ascontiguousarray(x.transpose(0, 2, 3, 1))
        own = {"channels_last": 1, **windows}
        steps = layer["xs"] * layer["ws"]
        floats = weights | {"bs": steps.astype(np.float32), "bz": np.zeros(len(q), np.int32)}
        node = helper.make_node
        nodes = [
            node("DequantizeLinear", ["x", "xs", "xz"], ["xf"]),
            node("DequantizeLinear", ["w", "ws", "wz"], ["wf"], axis=0),
            node("DequantizeLinear", ["b", "bs", "bz"], ["bf"], axis=0),
            node("Conv", ["xf", "wf", "bf"], ["yf"], **windows),
            node("QuantizeLinear", ["yf", "ys", "yz"], ["y"]),
        ]
        return {
            "ort QLinearConv": self.model("QLinearConv", {"x": x}, weights, "UINT8", order, **windows),
            "ort QDQ": self.graph(nodes, {"x": x}, floats, "UINT8"),
            "ort channels last": self.model(
                "QLinearConv", {"x": last}, weights, "UINT8", order, "com.microsoft", **own
            ),
        }

    def stored_codes(self, x: Any, q: Any, scale: Any, level: int) -> dict[str, Call]:
        """q: INT4 codes [N, blocks, block], kept as two of q + 8 a byte; scale: [N, blocks]. level: 1 computes in
        float32, 4 with activations of 8 bits."""
        (n, blocks, block), u = q.shape, (q + 8).astype(np.uint8)
        weights = {"b": u[:, :, ::2] | u[:, :, 1::2] << 4, "s": scale.ravel()}
        sizes = {"K": blocks * block, "N": n, "bits": 4, "block_size": block, "accuracy_level": level}
        call = self.model("MatMulNBits", {"a": x}, weights, "FLOAT", "a b s", "com.microsoft", **sizes)
        return {"ort MatMulNBits": call}

    def quantize(self, x: Any, q: Any, scale: float, zero_point: int) -> tuple[dict[str, Call], dict[str, Call]]:
        qparams = {"s": np.float32(scale), "z": q.dtype.type(zero_point)}
        qparams = {name: np.asarray(value) for name, value in qparams.items()}
        kind = q.dtype.name.upper()
        return (
            {"ort QuantizeLinear": self.model("QuantizeLinear", {"x": x}, qparams, kind, "x s z")},
            {"ort DequantizeLinear": self.model("DequantizeLinear", {"x": q}, qparams, "FLOAT", "x s z")},
        )


class Torch:
    """Quantized linear layers with every engine this build has, and `_int_mm`."""

    def __init__(self, threads: int) -> None:
        warnings.filterwarnings("ignore")
        import torch

        torch.set_num_threads(threads)
        self.torch = torch
        self.engines = [e for e in ENGINES if e in torch.backends.quantized.supported_engines]

    def matmul(self, a: Any, b: Any) -> dict[str, Call]:
        torch = self.torch
        signed, columns = torch.from_numpy((a ^ 128).view(np.int8)), torch.from_numpy(np.ascontiguousarray(b.T)).t()
        call: Call = lambda: torch._int_mm(signed, columns)  # noqa: E731
        try:
            call()
        except RuntimeError:  # shapes that it does not take
            return {}
        return {"torch _int_mm": call}

    def halves(self, a: Any, b: Any) -> dict[str, Call]:
        """bfloat16 operands made ready ahead; the result is bfloat16 too."""
        x, y = (self.torch.from_numpy(array).bfloat16() for array in (a, b))
        return {"torch bfloat16, operands ready": lambda: x @ y}

    def _each_engine(self, make: Callable[[], Call]) -> dict[str, Call]:
        calls = {}
        for engine in self.engines:
            self.torch.backends.quantized.engine = engine
            try:
                call = make()
                call()
            except RuntimeError:
                continue
            calls[engine] = self._with(engine, call)
        return calls

    def _with(self, engine: str, call: Call) -> Call:
        quantized = self.torch.backends.quantized

        def run() -> Any:
            quantized.engine = engine
            return call()

        return run

    def _weights(self, q: Any, scale: Any) -> Any:
        torch = self.torch
        zeros = torch.zeros(len(scale), dtype=torch.long)
        return torch._make_per_channel_quantized_tensor(
            torch.from_numpy(np.ascontiguousarray(q.T)), torch.from_numpy(scale).double(), zeros, 0
        )

    def linear(self, x: Any, q: Any, scale: Any, bias: Any, real: Any) -> dict[str, Call]:
        """Dynamic: float32 in and out. reduce_range off, so that it computes with all 8 bits as we do."""
        torch = self.torch
        inputs, weights, b = torch.from_numpy(x), self._weights(q, scale), torch.from_numpy(bias)

        def make() -> Call:
            packed = torch.ops.quantized.linear_prepack(weights, b)
            return lambda: torch.ops.quantized.linear_dynamic(inputs, packed, False)

        return {f"torch dynamic {engine}": call for engine, call in self._each_engine(make).items()}

    def codes(
        self, x: Any, q: Any, scale: Any, bias: Any, qparams: tuple[float, int], out: tuple[float, int]
    ) -> dict[str, Call]:
        """Static: uint8 codes in and out."""
        torch = self.torch
        inputs = torch._make_per_tensor_quantized_tensor(torch.from_numpy(x), *qparams)
        weights, b = self._weights(q, scale), torch.from_numpy(bias)

        def make() -> Call:
            packed = torch.ops.quantized.linear_prepack(weights, b)
            return lambda: torch.ops.quantized.linear(inputs, packed, *out)

        return {f"torch static {engine}": call for engine, call in self._each_engine(make).items()}

    def quantize(self, x: Any, q: Any, scale: float, zero_point: int) -> tuple[dict[str, Call], dict[str, Call]]:
        torch = self.torch
        real, kind = torch.from_numpy(x), torch.quint8 if q.dtype == np.uint8 else torch.qint8
        codes = torch.quantize_per_tensor(real, scale, zero_point, kind)
        return (
            {"torch quantize": lambda: torch.quantize_per_tensor(real, scale, zero_point, kind)},
            {"torch dequantize": lambda: codes.dequantize()},
        )


def present(threads: int) -> list[Any]:
    """The peers that are installed."""
    found, here = list[Any](), versions()
    if "absent" not in (here["onnx"], here["onnxruntime"]):
        found.append(OnnxRuntime(threads))
    if here["torch"] != "absent":
        found.append(Torch(threads))
    return found
