"""The receptive field: which part of its input a value of a network depends on, and how strongly."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from convkit import functional as F
from convkit.errors import integer, require
from convkit.geometry import check_volume
from convkit.graph import value_and_grad
from convkit.nn import FeatureExtractor, Module
from convkit.plot.canvas import axes_or_new, check_axes, check_layer, input_sizes, label_of, times
from convkit.seeding import LARGEST_KEY

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def receptive_field(
    model: Module,
    layer: str,
    input_shape: tuple[int, ...] | None = None,
    samples: int = 16,
    seed: int = 0,
    ax: Axes | None = None,
) -> Axes:
    """Draw how strongly the middle of a layer's maps depends on each place of the input, measured by gradients.

    The gradient of the value in the middle, summed over channels, is taken to inputs drawn from N(0, 1), in inference;
    drawn is the mean of its magnitude over inputs and channels, as a share of the largest: the effective receptive
    field of Luo et al. 2016.  (In a picture, colours stand for the square root, so that small shares are seen.)  The
    frame encloses all that is not zero; its size is in the title.

    Parameters
    ----------
    model : Module
        With the weights it has; they decide what is strong.
    layer : str
        The layer's name, as `Module.modules` gives it; ``""`` is the model itself.
    input_shape : tuple of int, optional
        (C, H, W) or (C, L); needed where the model does not name its own.
    samples : int
        Inputs; rectifiers and max pooling let each see another part of the field.
    seed : int
        Of the inputs, from 0 to 2**64 - 1.
    ax : matplotlib.axes.Axes, optional
        Where to draw; by default a new figure.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    TypeError, ValueError
        For arguments that cannot be; a missing `input_shape`, one of other than 2 or 3 axes, a name that the model has
        not, and a layer that returns several arrays or depends on no input.
    ImportError
        Where matplotlib is missing; the message names the pip command.

    References
    ----------
    Luo, Li, Urtasun and Zemel 2016, "Understanding the effective receptive field in deep convolutional neural
    networks", section 2.
    """
    check_layer("receptive_field", model, layer)
    check_axes("receptive_field", ax)
    shape = input_sizes("receptive_field", model, input_shape)
    if len(shape) not in (2, 3):
        raise ValueError(f"receptive_field: input_shape must be (C, H, W) or (C, L), not {shape}")
    size = (integer("receptive_field", "samples", samples, 1), *shape)
    check_volume("receptive_field", size, "the inputs")
    x = np.random.default_rng(integer("receptive_field", "seed", seed, 0, LARGEST_KEY)).normal(size=size)
    strength = _strength(FeatureExtractor(model, layer), x)
    if not strength.any():
        raise ValueError(f"receptive_field: the middle of layer {layer!r} depends on no input")
    low, high = zip(*[(int(places.min()), int(places.max())) for places in np.nonzero(strength)], strict=True)
    extent = [last - first + 1 for first, last in zip(low, high, strict=True)]

    with axes_or_new("receptive_field", ax, (6, 3) if strength.ndim == 1 else (4.5, 4.5)) as ax:
        if strength.ndim == 1:
            ax.axvspan(low[0] - 0.5, high[0] + 0.5, alpha=0.15)
            ax.bar(range(len(strength)), strength, width=0.8)
            ax.set(xlabel="position", ylabel="strength, relative")
        else:
            power = require("matplotlib.colors", "plot", "plot.receptive_field").PowerNorm(0.5, 0, 1)
            ax.imshow(strength, cmap="magma", norm=power, interpolation="nearest")
            rectangle = require("matplotlib.patches", "plot", "plot.receptive_field").Rectangle
            corner = (low[1] - 0.5, low[0] - 0.5)
            ax.add_patch(rectangle(corner, extent[1], extent[0], fill=False, edgecolor="tab:cyan", linewidth=1.5))
        ax.set_title(f"{label_of(layer, dict(model.modules())[layer])}, {times(*extent)} of {times(*shape[1:])}")
    return ax


def _strength(extractor: FeatureExtractor, x: np.ndarray) -> np.ndarray:
    """Mean magnitude of the gradient of the middle to x (N, C, *size), as shares of the largest: (*size,)."""
    maps = extractor(x)
    if not isinstance(maps, np.ndarray):
        raise ValueError(f"receptive_field: layer {extractor.layers!r} returns {len(maps)} arrays, not maps")
    middle = np.zeros_like(maps)
    centre = (..., *(size // 2 for size in maps.shape[2:]))
    middle[centre] = 1

    def value(maps: Any, middle: Any) -> Any:
        return F.sum(maps * middle)

    _, _, grad_x = value_and_grad(extractor, value, inputs=True, training=False)(x, middle)
    strength: np.ndarray = np.abs(grad_x, dtype=np.float64).mean((0, 1))
    return strength / (strength.max() or 1.0)
