"""Normalisation layers."""

from __future__ import annotations

from typing import Any

import numpy as np

from convkit import functional as F
from convkit.errors import flag, integer, integers, is_listing, number, positive, share
from convkit.nn.init import constant
from convkit.nn.module import Module
from convkit.ops.base import is_training
from convkit.parameter import Buffer, Parameter


class BatchNorm2d(Module):
    """Give each channel mean 0 and variance 1 over the batch, then a scale and a shift that are learned.

    ``y = (x - mean) / sqrt(variance + eps) · weight + bias``, in training with the batch's moments, which the running
    ones follow: ``running ← (1 - momentum) · running + momentum · batch`` (the batch's variance divided by m - 1); else
    with the running ones.  Whatever runs the training forward moves them: a step, `value_and_grad`, a call with
    ``training=True``.  An inference plan folds them into the convolution or dense layer before, where there is one.

    Shape: x (N, num_features, H, W) → y of the same.

    Parameters
    ----------
    num_features : int
        Channels.
    eps : float
        Added to the variance.
    momentum : float
        From 0 to 1.
    affine : bool
        Whether to have a weight and a bias.
    track_running_stats : bool
        Whether to keep running moments; without them the batch's are used always.

    Attributes
    ----------
    weight, bias : Parameter, (num_features,), 1 and 0 at first; or None
    running_mean, running_var : Buffer, (num_features,), 0 and 1 at first; or None
    num_batches_tracked : Buffer, (), the number of training batches seen; or None

    Raises
    ------
    TypeError, ValueError
        For numbers out of range.

    References
    ----------
    Ioffe and Szegedy 2015, "Batch normalization: accelerating deep network training by reducing internal covariate
    shift", algorithms 1 and 2.
    """

    rank: tuple[int, ...] = (2,)

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
    ) -> None:
        layer = type(self).__name__
        self.num_features = integer(layer, "num_features", num_features, 1)
        self.eps = positive(layer, "eps", eps)
        self.momentum = share(layer, "momentum", momentum)
        shape = (self.num_features,)
        affine = flag(layer, "affine", affine)
        tracked = flag(layer, "track_running_stats", track_running_stats)
        self.weight = Parameter(constant(layer, 1.0, shape, "num_features")) if affine else None
        self.bias = Parameter(constant(layer, 0.0, shape, "num_features")) if affine else None
        self.running_mean = Buffer(constant(layer, 0.0, shape, "num_features")) if tracked else None
        self.running_var = Buffer(constant(layer, 1.0, shape, "num_features")) if tracked else None
        self.num_batches_tracked = Buffer(np.zeros((), np.float32)) if tracked else None

    def forward(self, x: Any) -> Any:
        layer = type(self).__name__
        if len(x.shape) - 2 not in self.rank:
            layouts = " or ".join(("(N, C)", "(N, C, L)", "(N, C, H, W)", "(N, C, D, H, W)")[n] for n in self.rank)
            raise ValueError(f"{layer}: x must have the axes {layouts}, not shape {tuple(x.shape)}")
        if x.shape[1] != self.num_features:
            raise ValueError(f"{layer}: x must have {self.num_features} channels, not shape {tuple(x.shape)}")
        training = is_training() or self.running_mean is None
        if training and self.num_batches_tracked is not None:
            self.num_batches_tracked.update(self.num_batches_tracked + 1)
        return F.batch_norm(
            x, self.running_mean, self.running_var, self.weight, self.bias, training, self.momentum, self.eps
        )

    def extra_repr(self) -> str:
        return f"{self.num_features}, eps={self.eps}, momentum={self.momentum}"


class BatchNorm1d(BatchNorm2d):
    """Batch normalisation of features or signals; arguments and attributes as in `BatchNorm2d`.

    Shape: x (N, num_features) or (N, num_features, L) → y of the same.
    """

    rank = (0, 1)


class BatchNorm3d(BatchNorm2d):
    """Batch normalisation of volumes; arguments and attributes as in `BatchNorm2d`.

    Shape: x (N, num_features, D, H, W) → y of the same.
    """

    rank = (3,)


class GroupNorm(Module):
    """Normalise each group of channels of each sample by its own moments; see `convkit.functional.group_norm`.

    Shape: x ``(N, num_channels, *spatial)`` → y of the same.

    Parameters
    ----------
    num_groups : int
        Divides `num_channels`.
    num_channels : int
    eps : float
        Added to the variance.
    affine : bool
        Whether to have a weight and a bias for each channel.

    Attributes
    ----------
    weight, bias : Parameter, (num_channels,), 1 and 0 at first; or None

    Raises
    ------
    TypeError, ValueError
        For numbers out of range, and groups that do not divide the channels.

    References
    ----------
    Wu and He 2018, "Group normalization", equations 1, 2 and 7.
    """

    def __init__(self, num_groups: int, num_channels: int, eps: float = 1e-5, affine: bool = True) -> None:
        self.num_groups = integer("GroupNorm", "num_groups", num_groups, 1)
        self.num_channels = integer("GroupNorm", "num_channels", num_channels, 1)
        if self.num_channels % self.num_groups:
            raise ValueError(f"GroupNorm: num_channels {num_channels} is not divisible by num_groups {num_groups}")
        self.eps = positive("GroupNorm", "eps", eps)
        affine, shape = flag("GroupNorm", "affine", affine), (self.num_channels,)
        self.weight = Parameter(constant("GroupNorm", 1.0, shape, "num_channels")) if affine else None
        self.bias = Parameter(constant("GroupNorm", 0.0, shape, "num_channels")) if affine else None

    def forward(self, x: Any) -> Any:
        return F.group_norm(x, self.num_groups, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return f"{self.num_groups}, {self.num_channels}, eps={self.eps}"


class LayerNorm(Module):
    """Normalise over the last axes of each sample; see `convkit.functional.layer_norm`.

    Shape: x ``(*leading, *normalized_shape)`` → y of the same.

    Parameters
    ----------
    normalized_shape : int or sequence of int
        The sizes of the last axes.
    eps : float
        Added to the variance.
    elementwise_affine : bool
        Whether to have a weight and a bias for each place.
    bias : bool
        Whether there is a bias beside the weight.

    Attributes
    ----------
    weight, bias : Parameter, of `normalized_shape`, 1 and 0 at first; or None

    Raises
    ------
    TypeError, ValueError
        For numbers out of range.

    References
    ----------
    Ba, Kiros and Hinton 2016, "Layer normalization", equation 3.
    """

    def __init__(
        self, normalized_shape: Any, eps: float = 1e-5, elementwise_affine: bool = True, bias: bool = True
    ) -> None:
        sizes = tuple(normalized_shape) if is_listing(normalized_shape) else (normalized_shape,)
        if not sizes:
            raise ValueError("LayerNorm: normalized_shape must have one size or more, not ()")
        self.normalized_shape = integers("LayerNorm", "normalized_shape", sizes, len(sizes), 1)
        self.eps = positive("LayerNorm", "eps", eps)
        shape, bias = self.normalized_shape, flag("LayerNorm", "bias", bias)
        affine = flag("LayerNorm", "elementwise_affine", elementwise_affine)
        self.weight = Parameter(constant("LayerNorm", 1.0, shape, "normalized_shape")) if affine else None
        self.bias = Parameter(constant("LayerNorm", 0.0, shape, "normalized_shape")) if affine and bias else None

    def forward(self, x: Any) -> Any:
        return F.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return f"{self.normalized_shape}, eps={self.eps}"


class LocalResponseNorm(Module):
    """Divide each value by a power of its neighbours in other channels; see `convkit.functional.local_response_norm`.

    ``y[c] = x[c] / (k + a · Σ_j x[j]²)^beta`` over `size` channels around c, with ``a = alpha / size`` where `average`,
    as in PyTorch and ONNX, and ``a = alpha`` where not, as in the paper.

    Shape: x ``(N, C, *spatial)`` → y of the same.

    Parameters
    ----------
    size : int
        Channels that a window spans.
    alpha, beta, k : float
    average : bool
        Whether alpha is divided by the window's size.

    Raises
    ------
    TypeError, ValueError
        For numbers out of range.

    References
    ----------
    Krizhevsky, Sutskever and Hinton 2012, "ImageNet classification with deep convolutional neural networks",
    section 3.3: ``LocalResponseNorm(5, 1e-4, 0.75, 2.0, average=False)``.
    """

    def __init__(
        self, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0, *, average: bool = True
    ) -> None:
        self.size = integer("LocalResponseNorm", "size", size, 1)
        self.alpha = number("LocalResponseNorm", "alpha", alpha)
        self.beta = number("LocalResponseNorm", "beta", beta)
        self.k = positive("LocalResponseNorm", "k", k)
        self.average = flag("LocalResponseNorm", "average", average)

    def forward(self, x: Any) -> Any:
        return F.local_response_norm(x, self.size, self.alpha, self.beta, self.k, average=self.average)

    def extra_repr(self) -> str:
        return f"{self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}, average={self.average}"
