"""Functions on arrays: NumPy in, NumPy out, each with its backward.

Given symbols or parameters while a `forward` is traced, they record what they would do instead.
"""

import sys

from convkit.functional.activation import (
    elu,
    elu_backward,
    gelu,
    gelu_backward,
    hardsigmoid,
    hardsigmoid_backward,
    hardswish,
    hardswish_backward,
    hardtanh,
    hardtanh_backward,
    leaky_relu,
    leaky_relu_backward,
    prelu,
    prelu_backward,
    selu,
    selu_backward,
    silu,
    silu_backward,
    softplus,
    softplus_backward,
)  # fmt: skip
from convkit.functional.adaptive import (
    adaptive_avg_pool1d,
    adaptive_avg_pool1d_backward,
    adaptive_avg_pool2d,
    adaptive_avg_pool2d_backward,
    adaptive_max_pool1d,
    adaptive_max_pool1d_backward,
    adaptive_max_pool2d,
    adaptive_max_pool2d_backward,
    global_avg_pool,
    global_avg_pool_backward,
    global_max_pool,
    global_max_pool_backward,
)  # fmt: skip
from convkit.functional.conv import (
    col2im,
    conv1d,
    conv1d_backward,
    conv2d,
    conv2d_backward,
    conv_transpose1d,
    conv_transpose1d_backward,
    conv_transpose2d,
    conv_transpose2d_backward,
    convolution_matrix,
    im2col,
)  # fmt: skip
from convkit.functional.elementwise import (
    add,
    dropout,
    dropout2d,
    dropout2d_backward,
    dropout_backward,
    multiply,
    relu,
    relu_backward,
    sigmoid,
    sigmoid_backward,
    subtract,
    tanh,
    tanh_backward,
)  # fmt: skip
from convkit.functional.linear import linear, linear_backward, matmul
from convkit.functional.loss import (
    cross_entropy,
    cross_entropy_backward,
    log_softmax,
    log_softmax_backward,
    mse_loss,
    mse_loss_backward,
    nll_loss,
    nll_loss_backward,
    softmax,
    softmax_backward,
)  # fmt: skip
from convkit.functional.norm import (
    batch_norm,
    batch_norm_backward,
    group_norm,
    group_norm_backward,
    layer_norm,
    layer_norm_backward,
    local_response_norm,
    local_response_norm_backward,
)  # fmt: skip
from convkit.functional.pool import (
    avg_pool1d,
    avg_pool1d_backward,
    avg_pool2d,
    avg_pool2d_backward,
    max_pool1d,
    max_pool1d_backward,
    max_pool2d,
    max_pool2d_backward,
    max_unpool1d,
    max_unpool1d_backward,
    max_unpool2d,
    max_unpool2d_backward,
)  # fmt: skip
from convkit.functional.resize import (
    interpolate,
    interpolate_backward,
    pixel_shuffle,
    pixel_shuffle_backward,
    pixel_unshuffle,
    pixel_unshuffle_backward,
)  # fmt: skip
from convkit.functional.shape import (
    concat,
    concat_backward,
    flatten,
    mean,
    pad,
    pad_backward,
    reshape,
    sum,
)  # fmt: skip
from convkit.functional.signal import convolve1d, convolve2d, correlate1d, correlate2d
from convkit.ops.base import Operand

Operand.functions = sys.modules[__name__]

__all__ = [
    "conv1d", "conv1d_backward", "conv2d", "conv2d_backward",
    "conv_transpose1d", "conv_transpose1d_backward", "conv_transpose2d", "conv_transpose2d_backward",
    "im2col", "col2im", "convolution_matrix", "correlate1d", "correlate2d", "convolve1d", "convolve2d",
    "max_pool1d", "max_pool1d_backward", "max_pool2d", "max_pool2d_backward",
    "avg_pool1d", "avg_pool1d_backward", "avg_pool2d", "avg_pool2d_backward",
    "max_unpool1d", "max_unpool1d_backward", "max_unpool2d", "max_unpool2d_backward",
    "adaptive_avg_pool1d", "adaptive_avg_pool1d_backward", "adaptive_avg_pool2d", "adaptive_avg_pool2d_backward",
    "adaptive_max_pool1d", "adaptive_max_pool1d_backward", "adaptive_max_pool2d", "adaptive_max_pool2d_backward",
    "global_avg_pool", "global_avg_pool_backward", "global_max_pool", "global_max_pool_backward",
    "linear", "linear_backward", "matmul",
    "relu", "relu_backward", "tanh", "tanh_backward", "sigmoid", "sigmoid_backward",
    "add", "subtract", "multiply", "dropout", "dropout_backward", "dropout2d", "dropout2d_backward",
    "elu", "elu_backward", "gelu", "gelu_backward",
    "hardsigmoid", "hardsigmoid_backward", "hardswish", "hardswish_backward",
    "hardtanh", "hardtanh_backward", "leaky_relu", "leaky_relu_backward",
    "prelu", "prelu_backward", "selu", "selu_backward",
    "silu", "silu_backward", "softplus", "softplus_backward",
    "softmax", "softmax_backward", "log_softmax", "log_softmax_backward",
    "cross_entropy", "cross_entropy_backward", "mse_loss", "mse_loss_backward",
    "nll_loss", "nll_loss_backward",
    "batch_norm", "batch_norm_backward", "group_norm", "group_norm_backward", "layer_norm", "layer_norm_backward",
    "local_response_norm", "local_response_norm_backward",
    "interpolate", "interpolate_backward", "pixel_shuffle", "pixel_shuffle_backward",
    "pixel_unshuffle", "pixel_unshuffle_backward",
    "reshape", "flatten", "concat", "concat_backward", "pad", "pad_backward", "sum", "mean",
]  # fmt: skip
