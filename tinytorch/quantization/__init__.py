"""Module 17: quantization. What it offers, by task:

numbers to codes      choose_qparams, quantize, dequantize, dynamic_quantize; IntType, INT8, UINT8, INT4, UINT4, QParams
tensors of codes      QuantizedTensor; pack_int4, unpack_int4, pack_bits, unpack_bits, split_groups
ranges of data        MinMaxObserver, MovingAverageObserver, PercentileObserver, HistogramObserver; Observer, to write
                      one; value_range, Histogram
integer arithmetic    integer_matmul, requantize, quantize_multiplier, quantized_add, exact_product
a model, quantized    quantize_dynamic, quantize_static, quantize_weight_only, quantize_weights; Rule and Rules for
                      single layers
before that           fold_batch_norms, equalize; fold_batch_norm, equalization_scales
training              prepare_qat, freeze, convert, correct_bias; FakeQuantize, FakeQuantized, PreparedLayer,
                      fake_quantize, LearnedStepSize, learned_step_quantize
what became of it     explain, model_nbytes, model_arrays, outputs, speedup, time_interleaved
what it cost          sqnr_db, error_parts, expected_mse, kl_divergence, accuracy_interval
where the error is    compare_layers; LayerErrors, LayerError, TensorError, ChannelError
bits for each layer   sensitivity, activation_sensitivity, assign_bits, pareto_front; Sensitivity, Plan
half precision        autocast, GradScaler, MasterWeights, mixed_step; to_bfloat16, round_half, cast_to, lost_share
layers on codes       QuantizedLinear, QuantizedConv1d, QuantizedConv2d, WeightOnlyLinear,
                      WeightOnlyEmbedding, Lookup, OnCodes, QuantizedResidual,
                      quantized_layer

`docs/library.md` leads from somebody's weights to a served model. `tinytorch.acceleration.accelerate` makes a quantized
model fast.

`quantize`, `networks`, `qat` and `mixed_precision` are exported from the notebooks in `modules/source/17_quantization`:
edit those. The other files are written by hand and given to students, whose functions do the arithmetic in them.
`tinytorch.quantization.quantize` is the *function*; the file that holds it is imported as
`from tinytorch.quantization.quantize import ...`, which always works. So is what only other files of the package need.
"""

from tinytorch.core import outputs

from .comparing import *
from .histogram import *
from .layers import *
from .mixed_precision import *
from .networks import *
from .packing import *
from .qat import *
from .qparams import *
from .quantize import *
from .rules import *
from .tensors import *
from .trees import *

__all__ = [
    "INT4",
    "INT8",
    "UINT4",
    "UINT8",
    "ChannelError",
    "FakeQuantize",
    "FakeQuantized",
    "GradScaler",
    "Histogram",
    "HistogramObserver",
    "IntType",
    "LayerError",
    "LayerErrors",
    "LearnedStepSize",
    "Lookup",
    "MasterWeights",
    "MinMaxObserver",
    "MovingAverageObserver",
    "Observer",
    "OnCodes",
    "PercentileObserver",
    "Plan",
    "PreparedLayer",
    "QParams",
    "QuantizedConv1d",
    "QuantizedConv2d",
    "QuantizedLinear",
    "QuantizedResidual",
    "QuantizedTensor",
    "Rule",
    "Rules",
    "Sensitivity",
    "TensorError",
    "WeightOnlyEmbedding",
    "WeightOnlyLinear",
    "accuracy_interval",
    "activation_sensitivity",
    "assign_bits",
    "autocast",
    "cast_to",
    "choose_qparams",
    "compare_layers",
    "convert",
    "correct_bias",
    "dequantize",
    "dynamic_quantize",
    "equalization_scales",
    "equalize",
    "error_parts",
    "exact_product",
    "expected_mse",
    "explain",
    "fake_quantize",
    "fold_batch_norm",
    "fold_batch_norms",
    "freeze",
    "integer_matmul",
    "kl_divergence",
    "learned_step_quantize",
    "lost_share",
    "mixed_step",
    "model_arrays",
    "model_nbytes",
    "outputs",
    "pack_bits",
    "pack_int4",
    "pareto_front",
    "prepare_qat",
    "quantize",
    "quantize_dynamic",
    "quantize_multiplier",
    "quantize_static",
    "quantize_weight_only",
    "quantize_weights",
    "quantized_add",
    "quantized_layer",
    "requantize",
    "round_half",
    "sensitivity",
    "speedup",
    "split_groups",
    "sqnr_db",
    "time_interleaved",
    "to_bfloat16",
    "unpack_bits",
    "unpack_int4",
    "value_range",
]


def __dir__() -> list[str]:
    return sorted(__all__)
