"""What modules 1 to 15 would have built, as small as it can be: tensors with gradients, layers, training, data."""

from .activations import GELU, LeakyReLU, ReLU6, Sigmoid, SiLU, Tanh, gelu, sigmoid, softmax
from .attention import Embedding, SelfAttention
from .convolution import Conv1d, Conv2d, conv2d
from .data import Dataset, batches, load_digits
from .dropout import Dropout
from .fashion_mnist import fashion_mnist_available, load_fashion_mnist
from .joining import concatenate, stack
from .layers import Identity, Inputs, Linear, Module, ReLU, Residual, Sequential, evaluating
from .losses import CrossEntropyLoss, MSELoss
from .measures import accuracy, outputs, r2_score
from .normalization import BatchNorm1d, BatchNorm2d, LayerNorm
from .optimizers import SGD, Adam, AdamW, Optimizer, clip_grad_norm_, clip_grad_value_
from .pooling import AvgPool1d, AvgPool2d, Flatten, GlobalAvgPool2d, MaxPool1d, MaxPool2d
from .products import computing_in, wide_matmul
from .pytorch import from_torch, to_torch
from .resuming import Stateful
from .state import load_checkpoint, load_state, save_checkpoint, save_state
from .stored import Stored
from .tensor import Tensor, no_grad
from .training import fit, train_step

__all__ = [
    "GELU",
    "SGD",
    "Adam",
    "AdamW",
    "AvgPool1d",
    "AvgPool2d",
    "BatchNorm1d",
    "BatchNorm2d",
    "Conv1d",
    "Conv2d",
    "CrossEntropyLoss",
    "Dataset",
    "Dropout",
    "Embedding",
    "Flatten",
    "GlobalAvgPool2d",
    "Identity",
    "Inputs",
    "LayerNorm",
    "LeakyReLU",
    "Linear",
    "MSELoss",
    "MaxPool1d",
    "MaxPool2d",
    "Module",
    "Optimizer",
    "ReLU",
    "ReLU6",
    "Residual",
    "SelfAttention",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "Stateful",
    "Stored",
    "Tanh",
    "Tensor",
    "accuracy",
    "batches",
    "clip_grad_norm_",
    "clip_grad_value_",
    "computing_in",
    "concatenate",
    "conv2d",
    "evaluating",
    "fashion_mnist_available",
    "fit",
    "from_torch",
    "gelu",
    "load_checkpoint",
    "load_digits",
    "load_fashion_mnist",
    "load_state",
    "no_grad",
    "outputs",
    "r2_score",
    "save_checkpoint",
    "save_state",
    "sigmoid",
    "softmax",
    "stack",
    "to_torch",
    "train_step",
    "wide_matmul",
]
