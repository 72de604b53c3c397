"""The textbook's convolution: plain signals and images, one kernel, flipped or not.

Where networks say convolution they mean `correlate`; the convolution of mathematics turns the kernel round:
``convolve(x, w) = correlate(x, flip(w))``.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from convkit import errors, geometry
from convkit.functional.operands import operands
from convkit.ops.conv import Convolution


def correlate1d(x: Any, kernel: Any, mode: str = "valid", stride: int = 1) -> Any:
    """Slide a kernel along a signal: ``y[t] = Σ_k kernel[k] · x[t·stride + k - p]``.

    Parameters
    ----------
    x : array (n,)
        float32 or float64.
    kernel : array (m,)
        Of the same dtype.
    mode : 'valid', 'full' or 'same'
        The narrow (n - m + 1 values, p = 0), wide (n + m - 1, p = m - 1) or equal-width (n, p = m // 2) one.
    stride : int
        Keep every so many values.

    Returns
    -------
    array (ceil(width / stride),)
        Where width is the number of values that `mode` gives.

    Raises
    ------
    TypeError
        For dtypes other than float32 and float64, or mixed ones.
    ValueError
        For other shapes and modes, and a kernel longer than the signal in mode 'valid'.
    """
    return _slide("correlate1d", 1, x, kernel, mode, stride, flip=False)


def correlate2d(x: Any, kernel: Any, mode: str = "valid", stride: Any = 1) -> Any:
    """Slide a kernel (kh, kw) over an image (H, W); as `correlate1d`, on both axes.

    ``y[p, q] = Σ_{u,v} kernel[u, v] · x[p·stride + u - pad, q·stride + v - pad]``; stride may be one for each axis.
    """
    return _slide("correlate2d", 2, x, kernel, mode, stride, flip=False)


def convolve1d(x: Any, kernel: Any, mode: str = "valid", stride: int = 1) -> Any:
    """The convolution of mathematics: ``y[t] = Σ_k kernel[k] · x[t - k]``, the kernel turned round.

    Parameters, modes and errors as in `correlate1d`.  'same' gives the n middle values of the wide convolution,
    beginning with number (m - 1) // 2, as SciPy does, and NumPy for m <= n.
    """
    return _slide("convolve1d", 1, x, kernel, mode, stride, flip=True)


def convolve2d(x: Any, kernel: Any, mode: str = "valid", stride: Any = 1) -> Any:
    """The convolution of an image (H, W) with a kernel (kh, kw) rotated by 180°; as `convolve1d`, on both axes.

    ``y[p, q] = Σ_{u,v} kernel[u, v] · x[p - u, q - v]``; stride may be one for each axis.
    """
    return _slide("convolve2d", 2, x, kernel, mode, stride, flip=True)


def _slide(function: str, rank: int, x: Any, kernel: Any, mode: str, stride: Any, flip: bool) -> Any:
    x, kernel = operands(function, x=x, kernel=kernel)
    layout = ("(n,)", "(H, W)")[rank - 1]
    errors.dimensions(function, "x", x, rank, layout)
    errors.dimensions(function, "kernel", kernel, rank, layout)
    if 0 in kernel.shape:
        raise ValueError(f"{function}: kernel must not be empty, but has shape {kernel.shape}")
    paddings = {
        "valid": [(0, 0) for m in kernel.shape],
        "full": [(m - 1, m - 1) for m in kernel.shape],
        "same": [(m // 2, (m - 1) // 2) for m in kernel.shape],
    }
    padding = paddings[errors.one_of(function, "mode", mode, tuple(paddings))]
    windows = geometry.windows(function, x.shape, kernel.shape, stride, padding, 1)
    geometry.output_size(function, x.shape, windows)
    weight = np.ascontiguousarray(np.flip(kernel)) if flip else kernel
    return Convolution(windows)(x[None, None], weight[None, None], None)[0, 0]
