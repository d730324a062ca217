"""Anybody's published ONNX model, quantized.

quantize_onnx    the model with codes in it, and a report of each product
Scheme           how a product is quantized, for the rules of a call
"""

from .budget import OnnxSensitivity
from .quantizing import ProductReport, QuantizedOnnx, quantize_onnx
from .schemes import Scheme

__all__ = ["OnnxSensitivity", "ProductReport", "QuantizedOnnx", "Scheme", "quantize_onnx"]
