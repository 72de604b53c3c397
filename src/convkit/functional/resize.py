"""Images of another size on arrays, and the gradients: pixels made of channels, and interpolation."""

from __future__ import annotations

from typing import Any

from convkit import errors, geometry
from convkit.functional.conv import ANY_LAYOUT, LAYOUTS
from convkit.functional.operands import operand
from convkit.ops.resize import Interpolate, InterpolateGrad, PixelShuffle, PixelUnshuffle

LARGEST_FACTOR = 2**16

# --- pixels made of channels --------------------------------------------------------------------------------


def pixel_shuffle(x: Any, upscale_factor: int) -> Any:
    """Make an image r times as large of r² channels each: ``y[c, r·h + i, r·w + j] = x[c·r² + i·r + j, h, w]``.

    Parameters
    ----------
    x : array (N, C·r², H, W)
        float32 or float64.
    upscale_factor : int
        r.

    Returns
    -------
    y : array (N, C, H·r, W·r)

    Raises
    ------
    TypeError, ValueError
        For other dtypes, and channels that r² does not divide.

    References
    ----------
    Shi et al. 2016, "Real-time single image and video super-resolution using an efficient sub-pixel convolutional
    neural network", equation 4.
    """
    return _shuffle("pixel_shuffle", "x", x, upscale_factor=upscale_factor)


def pixel_unshuffle(x: Any, downscale_factor: int) -> Any:
    """The inverse of `pixel_shuffle`: each r × r cell of pixels becomes r² channels.

    Parameters
    ----------
    x : array (N, C, H·r, W·r)
        float32 or float64.
    downscale_factor : int
        r.

    Returns
    -------
    y : array (N, C·r², H, W)

    Raises
    ------
    TypeError, ValueError
        For other dtypes, and sizes that r does not divide.
    """
    return _unshuffle("pixel_unshuffle", "x", x, downscale_factor=downscale_factor)


def pixel_shuffle_backward(grad_output: Any, upscale_factor: int) -> Any:
    """Gradient of `pixel_shuffle` to x: `pixel_unshuffle` of grad_output.

    Parameters
    ----------
    grad_output : array (N, C, H·r, W·r)
    upscale_factor : as given to `pixel_shuffle`

    Returns
    -------
    grad_x : array (N, C·r², H, W)

    Raises
    ------
    TypeError, ValueError
        As `pixel_unshuffle`.
    """
    return _unshuffle("pixel_shuffle_backward", "grad_output", grad_output, upscale_factor=upscale_factor)


def pixel_unshuffle_backward(grad_output: Any, downscale_factor: int) -> Any:
    """Gradient of `pixel_unshuffle` to x: `pixel_shuffle` of grad_output.

    Parameters
    ----------
    grad_output : array (N, C·r², H, W)
    downscale_factor : as given to `pixel_unshuffle`

    Returns
    -------
    grad_x : array (N, C, H·r, W·r)

    Raises
    ------
    TypeError, ValueError
        As `pixel_shuffle`.
    """
    return _shuffle("pixel_unshuffle_backward", "grad_output", grad_output, downscale_factor=downscale_factor)


def _shuffle(function: str, argument: str, x: Any, **factor: Any) -> Any:
    x = operand(function, argument, x)
    errors.dimensions(function, argument, x, 4, LAYOUTS[2])
    r = _factor(function, **factor)
    if x.shape[1] % r**2:
        raise ValueError(f"{function}: {argument} has {x.shape[1]} channels, which {r}² does not divide")
    return PixelShuffle(r)(x)


def _unshuffle(function: str, argument: str, x: Any, **factor: Any) -> Any:
    x = operand(function, argument, x)
    errors.dimensions(function, argument, x, 4, LAYOUTS[2])
    r = _factor(function, **factor)
    if x.shape[2] % r or x.shape[3] % r:
        raise ValueError(f"{function}: {argument} has the size {tuple(x.shape[2:])}, which {r} does not divide")
    return PixelUnshuffle(r)(x)


def _factor(function: str, **factor: Any) -> int:
    [(argument, value)] = factor.items()
    return errors.integer(function, argument, value, 1, LARGEST_FACTOR)


# --- interpolation ------------------------------------------------------------------------------------------


def interpolate(
    x: Any, size: Any = None, scale_factor: Any = None, mode: str = "nearest", align_corners: bool = False
) -> Any:
    """Resize signals, images or volumes: by the nearest value, or linearly between the two on either side on each axis.

    Output i of an axis lies at ``(i + 1/2) · n / m - 1/2`` among n inputs where there are m outputs, not below 0; with
    `align_corners` at ``i · (n - 1) / (m - 1)``; 'nearest' takes input floor(i · n / m).

    Parameters
    ----------
    x : array (N, C, L), (N, C, H, W) or (N, C, D, H, W)
        float32 or float64.
    size : int or one for each axis, optional
        The output's size; this or `scale_factor`.
    scale_factor : int or one for each axis, optional
        How many times as large the output is.
    mode : {'nearest', 'linear', 'bilinear', 'trilinear'}
        'linear' is for signals, 'bilinear' for images, 'trilinear' for volumes.
    align_corners : bool
        Whether the outermost outputs are the outermost inputs; not for 'nearest'.

    Returns
    -------
    y : array ``(N, C, *size)``

    Raises
    ------
    TypeError, ValueError
        For other dtypes, shapes, sizes and modes than these.
    """
    function = "interpolate"
    x = operand(function, "x", x)
    align_corners = errors.flag(function, "align_corners", align_corners)
    linear = _is_linear(function, "x", x.shape, mode, align_corners)
    rank = len(x.shape) - 2
    if (size is None) == (scale_factor is None):
        raise ValueError(f"{function}: exactly one of size and scale_factor must be given")
    if size is not None:
        out = errors.integers(function, "size", size, rank, 1)
    else:
        factors = errors.integers(function, "scale_factor", scale_factor, rank, 1)
        out = tuple(n * factor for n, factor in zip(x.shape[2:], factors, strict=True))
    geometry.check_volume(function, (*x.shape[:2], *out), "the output of this size or scale_factor")
    return Interpolate(out, linear, align_corners)(x)


def interpolate_backward(
    grad_output: Any, input_shape: tuple[int, ...], mode: str = "nearest", align_corners: bool = False
) -> Any:
    """Gradient of `interpolate` to x: each output's gradient, shared out among the values it was made of.

    Parameters
    ----------
    grad_output : array ``(N, C, *size)``
    input_shape : ``(N, C, *spatial)``
    mode, align_corners : as given to `interpolate`

    Returns
    -------
    grad_x : array of that shape

    Raises
    ------
    TypeError, ValueError
        As `interpolate`, and where `grad_output` has another batch or number of channels.
    """
    function = "interpolate_backward"
    grad = operand(function, "grad_output", grad_output)
    shape = errors.sizes(function, "input_shape", input_shape, len(grad.shape))
    align_corners = errors.flag(function, "align_corners", align_corners)
    linear = _is_linear(function, "input_shape", shape, mode, align_corners)
    errors.shape(function, "grad_output", grad, (*shape[:2], *grad.shape[2:]))
    if 0 in grad.shape[2:]:
        raise geometry.GeometryError(f"{function}: grad_output must have a value on every spatial axis")
    return InterpolateGrad(shape[2:], linear, align_corners)(grad)


def _is_linear(function: str, argument: str, shape: tuple[int, ...], mode: str, align_corners: bool) -> bool:
    rank = len(shape) - 2
    if rank not in LAYOUTS:
        raise ValueError(f"{function}: {argument} must be {ANY_LAYOUT}, not of shape {tuple(shape)}")
    if 0 in shape[2:]:
        raise geometry.GeometryError(
            f"{function}: {argument} must have a value on every spatial axis, not shape {tuple(shape)}"
        )
    linear = {1: "linear", 2: "bilinear", 3: "trilinear"}[rank]
    if not isinstance(mode, str) or mode not in ("nearest", linear):
        raise ValueError(
            f"{function}: mode must be 'nearest' or '{linear}' for {LAYOUTS[rank]}, not {errors.said(mode)}"
        )
    if align_corners and mode == "nearest":
        raise ValueError(f"{function}: align_corners is for mode '{linear}', not 'nearest'")
    return mode == linear
