"""Layers: build networks of them, or of your own modules."""

from convkit.nn import init
from convkit.nn.activation import (
    ELU,
    GELU,
    SELU,
    Dropout,
    Dropout2d,
    Dropout3d,
    Hardsigmoid,
    Hardswish,
    Hardtanh,
    LeakyReLU,
    PReLU,
    ReLU,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Tanh,
)  # fmt: skip
from convkit.nn.container import FeatureExtractor, Flatten, Sequential
from convkit.nn.conv import Conv1d, Conv2d, Conv3d, ConvTranspose1d, ConvTranspose2d, ConvTranspose3d
from convkit.nn.linear import Linear
from convkit.nn.loss import AuxiliaryCrossEntropyLoss, CrossEntropyLoss, MSELoss
from convkit.nn.module import Module
from convkit.nn.norm import BatchNorm1d, BatchNorm2d, BatchNorm3d, GroupNorm, LayerNorm, LocalResponseNorm
from convkit.nn.pool import (
    AdaptiveAvgPool1d,
    AdaptiveAvgPool2d,
    AdaptiveAvgPool3d,
    AdaptiveMaxPool1d,
    AdaptiveMaxPool2d,
    AdaptiveMaxPool3d,
    AvgPool1d,
    AvgPool2d,
    AvgPool3d,
    GlobalAvgPool,
    GlobalMaxPool,
    MaxPool1d,
    MaxPool2d,
    MaxPool3d,
    MaxUnpool1d,
    MaxUnpool2d,
    MaxUnpool3d,
)  # fmt: skip
from convkit.nn.resize import PixelShuffle, PixelUnshuffle, Upsample
from convkit.parameter import Buffer, Parameter

__all__ = [
    "Module", "Parameter", "Buffer", "Sequential", "FeatureExtractor", "Flatten",
    "Conv1d", "Conv2d", "Conv3d", "ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d",
    "MaxPool1d", "MaxPool2d", "MaxPool3d", "AvgPool1d", "AvgPool2d", "AvgPool3d",
    "MaxUnpool1d", "MaxUnpool2d", "MaxUnpool3d",
    "AdaptiveAvgPool1d", "AdaptiveAvgPool2d", "AdaptiveAvgPool3d",
    "AdaptiveMaxPool1d", "AdaptiveMaxPool2d", "AdaptiveMaxPool3d",
    "GlobalAvgPool", "GlobalMaxPool",
    "BatchNorm1d", "BatchNorm2d", "BatchNorm3d", "GroupNorm", "LayerNorm", "LocalResponseNorm",
    "Linear", "ReLU", "Tanh", "Sigmoid", "Softmax", "Dropout", "Dropout2d", "Dropout3d",
    "LeakyReLU", "PReLU", "ELU", "SELU", "GELU", "SiLU", "Softplus", "Hardsigmoid", "Hardswish", "Hardtanh",
    "PixelShuffle", "PixelUnshuffle", "Upsample",
    "CrossEntropyLoss", "AuxiliaryCrossEntropyLoss", "MSELoss", "init",
]  # fmt: skip
