"""ONNX Runtime's own quantizers, with the settings that its documentation advises, and the work-arounds they need.

Work-arounds: files are given their shapes by ONNX alone, since ONNX Runtime's symbolic shape inference stops on several
of these models; operator sets before 13 are converted, since scales for each channel need 13; nodes without a name are
named, since the tool tells nodes apart by name; where a setting fails on the model as the tool rewrites it (it merges
MatMul and Add into Gemm, whose biases it cannot always quantize per channel), it is tried without that rewriting.
"""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import onnx
import onnxruntime as ort
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quant_pre_process,
    quantize_dynamic,
    quantize_static,
)

from .tasks import Feed, Run

PRODUCTS = ["Conv", "MatMul", "Gemm"]


class Reader(CalibrationDataReader):  # type: ignore[misc]
    """Feeds, one after the other, as ONNX Runtime's tool wants them."""

    def __init__(self, feeds: list[Feed]) -> None:
        self.feeds = iter(feeds)

    def get_next(self) -> Feed | None:
        return next(self.feeds, None)


@dataclass(frozen=True)
class Refused:
    """The tool's complaint, where a setting gave no model, or none that ONNX Runtime loads."""

    why: str


@dataclass(frozen=True)
class Setting:
    """A way to call ONNX Runtime's tool: its name in the table, and a call that gives the quantized model."""

    name: str
    quantized: Callable[[Path, list[Feed], Path], None]


def session(model: onnx.ModelProto, level: str = "ORT_ENABLE_ALL", save_to: Path | None = None) -> ort.InferenceSession:
    """A session of one thread that says nothing."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    options.graph_optimization_level = getattr(ort.GraphOptimizationLevel, level)
    if save_to:
        options.optimized_model_filepath = str(save_to)
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def runner(model: onnx.ModelProto) -> Run:
    opened = session(model)
    return lambda feed: list(opened.run(None, feed))


def prepared(model: onnx.ModelProto, folder: Path, rewrite: bool) -> Path:
    """The model as ONNX Runtime's tool can take it: see the work-arounds above. rewrite: by its own optimization."""
    own = onnx.ModelProto()
    own.CopyFrom(model)
    if max(o.version for o in own.opset_import if not o.domain) < 13:
        own = onnx.version_converter.convert_version(own, 17)
    for i, node in enumerate(own.graph.node):
        node.name = node.name or f"node {i}"
    raw, ready = folder / "raw.onnx", folder / "ready.onnx"
    onnx.save(own, raw)
    quant_pre_process(raw, ready, skip_symbolic_shape=True, skip_optimization=not rewrite)
    return ready


def dynamic(weights: QuantType, operators: list[str] | None) -> Setting:
    def call(ready: Path, _: list[Feed], to: Path) -> None:
        quantize_dynamic(ready, to, operators, per_channel=operators is not None, weight_type=weights)

    kept = "all operators" if operators is None else "without Conv, per channel"
    return Setting(f"dynamic, {kept}", call)


def static(per_channel: bool, operators: list[str] | None, method: CalibrationMethod) -> Setting:
    def call(ready: Path, feeds: list[Feed], to: Path) -> None:
        types, more = {"activation_type": QuantType.QUInt8, "weight_type": QuantType.QInt8}, {}
        if method == CalibrationMethod.Percentile:
            more = {"CalibPercentile": 99.99}
        quantize_static(
            *(ready, to, Reader(feeds), QuantFormat.QDQ, operators),
            per_channel=per_channel,
            calibrate_method=method,
            extra_options=more,
            **types,
        )

    kept = "all operators" if operators is None else "Conv, MatMul, Gemm"
    return Setting(f"static, per {'channel' if per_channel else 'tensor'}, {kept}, {method.name}", call)


DYNAMIC = [dynamic(QuantType.QUInt8, None), dynamic(QuantType.QInt8, ["MatMul", "Gemm", "LSTM", "Gather", "Attention"])]
STATIC = [
    static(False, None, CalibrationMethod.MinMax),
    static(False, PRODUCTS, CalibrationMethod.MinMax),
    static(True, None, CalibrationMethod.MinMax),
    static(True, PRODUCTS, CalibrationMethod.MinMax),
    static(True, PRODUCTS, CalibrationMethod.Percentile),
]


def quantized(
    model: onnx.ModelProto, feeds: list[Feed], settings: list[Setting]
) -> Iterator[tuple[str, onnx.ModelProto | Refused]]:
    """A model for each setting, by its name."""
    for setting in settings:
        made = attempt(model, feeds, setting, rewrite=True)
        if isinstance(made, Refused):
            made = attempt(model, feeds, setting, rewrite=False)
        yield setting.name, made


def attempt(model: onnx.ModelProto, feeds: list[Feed], setting: Setting, rewrite: bool) -> onnx.ModelProto | Refused:
    with tempfile.TemporaryDirectory() as name:
        to = Path(name) / "quantized.onnx"
        try:
            with contextlib.redirect_stdout(io.StringIO()):  # the tool prints as it goes
                setting.quantized(prepared(model, Path(name), rewrite), feeds, to)
            made = onnx.load(to)
            session(made)
            return made
        except Exception as error:  # whatever a stranger's tool raises is its answer
            return Refused(f"{type(error).__name__}: {str(error).splitlines()[0][:100]}")
