"""TinyTorch: a small, real deep-learning library, built to be read.

`tinytorch.core` is given (tensors, layers, training, data); `tinytorch.quantization` is exported from the notebooks
in `modules/source/17_quantization`.
"""

__version__ = "1.0.0"
