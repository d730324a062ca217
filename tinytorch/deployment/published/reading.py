"""Somebody's ONNX model as it is quantized: in float32, of opset 13 or later, with BatchNormalization folded.

ONNX Runtime's basic optimization does the folding: it computes what is constant, and writes standard operators alone.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from tinytorch.deployment.extras import library
from tinytorch.deployment.published.sessions import in_onnxruntime, quiet_options

LOWEST_OPSET, OPSET_OF_4_BITS = 13, 21  # a scale for each channel; codes of 4 bits, and scales of groups
QUANTIZED = ("DequantizeLinear", "MatMulInteger", "ConvInteger", "DynamicQuantizeLinear", "MatMulNBits")
MUCH = 2**26  # bytes of a model from which on its weights stay on disk while ONNX Runtime has it
LEAST_BESIDE = 1024  # bytes of a weight that is worth it


def read_onnx(source: Any, opset: int = LOWEST_OPSET) -> Any:
    """The float model of a path, of bytes or as `onnx.ModelProto`: a new one of at least this opset.

    ValueError, in a sentence, for what is no ONNX model, is quantized already, or cannot run in ONNX Runtime.
    """
    model, name = _parsed(source)
    if not model.graph.node:
        raise ValueError(f"{name} is not an ONNX model: wanted a file that torch.onnx.export or another exporter wrote")
    for node in nodes_of(model.graph):
        if node.op_type in QUANTIZED or node.op_type.startswith("QLinear"):
            raise ValueError(f"{name} is quantized already, as {node.op_type} shows: quantize the float model")
    for value in (*model.graph.input, *model.graph.output):
        if value.type.WhichOneof("value") not in (None, "tensor_type"):
            raise ValueError(f"{name} takes or gives {value.name}, which is no array: only arrays are calibrated")
    if model.functions:
        library("onnx.inliner")
        model = library("onnx").inliner.inline_local_functions(model)
    model = _raised(model, name, opset)
    _drop_weights_from_inputs(model)
    _as_float32(model)
    with tempfile.TemporaryDirectory() as folder:
        before = Path(folder, "before.onnx")
        write_onnx(model, before)
        del model  # or a large one is in memory twice
        return _named(_folded(before, name))


def graphs_of(graph: Any) -> Iterator[Any]:
    """The graph and those within its nodes, such as the branches of an If."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for inner in (*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])):
                yield from graphs_of(inner)


def nodes_of(graph: Any) -> Iterator[Any]:
    """All nodes, also those within others."""
    return (node for each in graphs_of(graph) for node in each.node)


def opset_of(model: Any) -> int:
    return next((int(entry.version) for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 0)


def _parsed(source: Any) -> tuple[Any, str]:
    """The model and what errors call it."""
    onnx = library("onnx")
    if isinstance(source, onnx.ModelProto):
        model = onnx.ModelProto()
        model.CopyFrom(source)
        return model, "the model"
    if isinstance(source, bytes):
        return _decoded(lambda: onnx.load_from_string(source), "the model"), "the model"
    if not isinstance(source, (str, Path)):
        raise TypeError(f"wanted a path, bytes or an onnx.ModelProto, got {type(source).__name__}")
    path = Path(source)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: there is no such file")
    return _decoded(lambda: onnx.load(path), path.name), path.name


def _decoded(load: Any, name: str) -> Any:
    try:
        return load()
    except library("google.protobuf.message").DecodeError:
        fix = "wanted a file that torch.onnx.export or another exporter wrote"
        raise ValueError(f"{name} is not an ONNX model: {fix}") from None
    except library("onnx").checker.ValidationError as error:  # its weights lie in other files
        raise ValueError(f"{name} lacks some of its weights: {str(error).splitlines()[0]}") from None


def _drop_weights_from_inputs(model: Any) -> None:
    """Until IR version 3 weights had to be inputs too, and could be given at each call. Unused ones go, too."""
    graph = model.graph
    model.ir_version = max(model.ir_version, 4)
    weights = {tensor.name for tensor in graph.initializer}
    taken = {name for node in nodes_of(graph) for name in node.input} | {value.name for value in graph.output}
    for tensor in [tensor for tensor in graph.initializer if tensor.name not in taken]:
        graph.initializer.remove(tensor)
    inputs = [value for value in graph.input if value.name not in weights]
    del graph.input[:]
    graph.input.extend(inputs)


def _as_float32(model: Any) -> None:
    """Everything that is float16 becomes float32; inputs and outputs stay as they are, behind a Cast."""
    onnx = library("onnx")
    half, single = onnx.TensorProto.FLOAT16, onnx.TensorProto.FLOAT
    graph = model.graph
    ends = [value for value in (*graph.input, *graph.output) if value.type.tensor_type.elem_type == half]
    for each in graphs_of(graph):
        for tensor in each.initializer:
            _widen(tensor)
        for value in each.value_info if each is graph else (*each.value_info, *each.input, *each.output):
            if value.type.tensor_type.elem_type == half:
                value.type.tensor_type.elem_type = single
        for attribute in (attribute for node in each.node for attribute in node.attribute):
            if attribute.HasField("t"):
                _widen(attribute.t)
            elif attribute.name in ("to", "dtype") and attribute.i == half:
                attribute.i = single
    _cast_at_the_ends(graph, {value.name for value in ends})


def _widen(tensor: Any) -> None:
    onnx = library("onnx")
    if tensor.data_type == onnx.TensorProto.FLOAT16:
        wide = onnx.numpy_helper.to_array(tensor).astype(np.float32)
        tensor.CopyFrom(onnx.numpy_helper.from_array(wide, tensor.name))


def _cast_at_the_ends(graph: Any, ends: set[str]) -> None:
    """Casts between float16 inputs and outputs of these names and the float32 graph."""
    onnx = library("onnx")
    renamed = {name: f"{name}.float32" for name in ends}
    for each in graphs_of(graph):
        for node in each.node:
            node.input[:] = [renamed.get(name, name) for name in node.input]
            node.output[:] = [renamed.get(name, name) for name in node.output]
    cast = onnx.helper.make_node
    into = [cast("Cast", [v.name], [renamed[v.name]], to=1) for v in graph.input if v.name in ends]
    out = [cast("Cast", [renamed[v.name]], [v.name], to=10) for v in graph.output if v.name in ends]
    nodes = [*into, *graph.node, *out]
    del graph.node[:]
    graph.node.extend(nodes)


def _raised(model: Any, name: str, wanted: int) -> Any:
    """The model in the opset that is wanted, if its own is lower."""
    onnx = library("onnx")
    opset = opset_of(model)
    if not 0 < opset < wanted:
        return model
    try:
        return onnx.version_converter.convert_version(model, wanted)
    except Exception as error:  # it raises what its C++ part threw
        cause = str(error).splitlines()[0][:200]
        raise ValueError(f"{name} has opset {opset}, and ONNX cannot raise it to {wanted}: {cause}") from None


def _folded(before: Path, name: str) -> Any:
    """What ONNX Runtime's basic optimization makes of a file."""
    options, after = quiet_options(), before.with_name("after.onnx")
    options.graph_optimization_level = library("onnxruntime").GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(after)
    if before.with_name(f"{before.name}.data").exists():
        options.add_session_config_entry("session.optimized_model_external_initializers_file_name", "after.data")
        options.add_session_config_entry("session.optimized_model_external_initializers_min_size_in_bytes", "1024")
    in_onnxruntime(str(before), name, options)
    folded = library("onnx").load(after)
    used = {node.domain for node in nodes_of(folded.graph)}
    imports = [entry for entry in folded.opset_import if entry.domain in used | {"", "ai.onnx"}]
    del folded.opset_import[:]
    folded.opset_import.extend(imports)
    return folded


@contextmanager
def stored(model: Any) -> Iterator[Any]:
    """What ONNX Runtime opens: the model's bytes, or, of a large one, a file that leaves the weights on disk."""
    if model.ByteSize() <= MUCH:
        yield model.SerializeToString()
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.onnx")
        write_onnx(model, path)
        yield str(path)


def write_onnx(model: Any, path: Path) -> None:
    """A file; of a large model two, the weights in `path`.data, for a protobuf has at most 2 GB."""
    if model.ByteSize() <= MUCH:
        path.write_bytes(model.SerializeToString())
        return
    beside = path.with_name(f"{path.name}.data")
    with beside.open("wb") as file:
        light = _with_weights_in(model, file)
    path.write_bytes(light.SerializeToString())


def _with_weights_in(model: Any, file: BinaryIO) -> Any:
    """The model with its large weights written to a file, which it names."""
    light = type(model)()
    for kind, value in model.ListFields():
        if kind.name != "graph":
            _copy_field(light, kind, value)
    for kind, value in model.graph.ListFields():
        if kind.name != "initializer":
            _copy_field(light.graph, kind, value)
    for tensor in model.graph.initializer:
        large = len(tensor.raw_data) > LEAST_BESIDE
        light.graph.initializer.append(_external(tensor, file) if large else tensor)
    return light


def _copy_field(into: Any, kind: Any, value: Any) -> None:
    if kind.message_type is None:
        setattr(into, kind.name, value)
    elif hasattr(value, "CopyFrom"):
        getattr(into, kind.name).CopyFrom(value)
    else:
        getattr(into, kind.name).extend(value)


def _external(tensor: Any, file: BinaryIO) -> Any:
    """A tensor that says where in the file its bytes are."""
    file.seek(-(-file.tell() // 4096) * 4096)  # a page's beginning, so that an engine can map it
    where = {"location": Path(file.name).name, "offset": file.tell(), "length": file.write(tensor.raw_data)}
    light = type(tensor)(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims, data_location=1)
    for key, value in where.items():
        light.external_data.add(key=key, value=str(value))
    return light


def _named(model: Any) -> Any:
    """Every node has a name of its own: its own, its operator with a number, or both."""
    own = {node.name for node in model.graph.node}
    taken: set[str] = set()
    for number, node in enumerate(model.graph.node):
        wanted = node.name
        while not wanted or wanted in taken or (not node.name and wanted in own):
            wanted = f"{wanted or node.op_type}_{number}"
        node.name = wanted
        taken.add(wanted)
    return model
