"""A quantized network in other people's engines, with the same codes.

to_onnx     an ONNX model, for ONNX Runtime, TensorRT and what else reads it
to_tflite   a TFLite model of int8 codes, for LiteRT and TFLite Micro; with_output_codes prepares a network for it
to_coreml   a Core ML program
to_c        one C99 file for a microcontroller, without allocation or library
compare     a file in its engine beside the network: which codes differ, layer by layer
trace       the network as a flat list of steps, with what each of them gave: Quantize, Product, Convolution, MaxPool,
            ReluOnCodes, FlattenCodes, Table, Add, FloatLayer, Dequantize
quantize_onnx   anybody's ONNX model, quantized, and a report of it; Scheme says how one of its products is
computed    what the steps give with another engine's rounding
tensorrt_faults, edgetpu_faults, micro_faults   what breaks the rules of engines that may not be here

The engines' libraries come with the extras [deploy] and [micro]; without them the rest of the package is as it is.
"""

from .c_file import *
from .comparing import *
from .coreml_file import *
from .onnx_file import *
from .onnx_targets import *
from .output_codes import *
from .published import *
from .running import *
from .steps import *
from .tflite_file import *
from .tflite_targets import *

__all__ = [
    "Add",
    "CFiles",
    "Comparison",
    "Convolution",
    "Dequantize",
    "Difference",
    "FlattenCodes",
    "FloatLayer",
    "MaxPool",
    "OnnxSensitivity",
    "Product",
    "ProductReport",
    "Quantize",
    "QuantizedOnnx",
    "ReluOnCodes",
    "Rounding",
    "Scheme",
    "Step",
    "Table",
    "Trace",
    "Value",
    "compare",
    "compare_steps",
    "computed",
    "edgetpu_faults",
    "micro_faults",
    "quantize_onnx",
    "tensorrt_faults",
    "to_c",
    "to_coreml",
    "to_onnx",
    "to_tflite",
    "trace",
    "with_output_codes",
]
