"""Pictures made of small ones laid out in rows: filters, feature maps, images that were mistaken."""

from __future__ import annotations

from math import ceil, sqrt
from typing import TYPE_CHECKING, Any

import numpy as np

from convkit.data import Dataset, PictureFiles
from convkit.errors import integer, view
from convkit.nn import ConvTranspose2d, FeatureExtractor, Module
from convkit.parameter import Parameter
from convkit.plot.canvas import axes_or_new, check_axes, check_layer, label_of, real_numbers, times

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BATCH = 256  # images that a model is asked about together
LARGEST = 8.0  # inches that a new figure is wide and high


def filters(layer: Module | Parameter | np.ndarray, ax: Axes | None = None) -> Axes:
    """Draw the kernels of a convolutional layer: a row for each output channel, a column for each input channel.

    Kernels of one input channel are laid out in a square, those of three as colour images (grey is zero).  All share
    one scale, with zero in its middle, as far as the largest finite weight; NaN is left out.

    Parameters
    ----------
    layer : Module, Parameter or array
        A layer with a `weight`; or weights (O, I, kh, kw), or (O, I, k) of signals.  ``layer.weight.value[:8]`` draws
        the first eight outputs.
    ax : matplotlib.axes.Axes, optional
        Where to draw; by default a new figure.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    TypeError
        For a module without a weight, weights that are not numbers, and Axes that are none.
    ValueError
        For weights of other than 3 or 4 axes, such as a dense layer's, and empty ones.
    ImportError
        Where matplotlib is missing; the message names the pip command.
    """
    check_axes("filters", ax)
    weight = _kernels(layer)
    outputs, inputs = weight.shape[:2]
    limit = float(np.abs(weight).max(initial=0.0, where=np.isfinite(weight))) or 1.0
    if inputs == 3:
        tiles = np.moveaxis(_colours(weight / limit), 1, -1)  # (O, kh, kw, 3)
        columns = _square(outputs)
        with axes_or_new("filters", ax, _inches(tiles, columns)) as ax:
            _draw(ax, tiles, columns)
        return ax
    tiles = weight.reshape(-1, *weight.shape[2:])
    columns = inputs if inputs > 1 else _square(outputs)
    with axes_or_new("filters", ax, _inches(tiles, columns)) as ax:
        _draw(ax, tiles, columns, cmap="RdBu_r", vmin=-limit, vmax=limit)
        ax.figure.colorbar(ax.images[0], ax=ax, shrink=0.7)
    return ax


def feature_maps(model: Module, layer: str, image: Any, ax: Axes | None = None) -> Axes:
    """Draw what a layer returns for an image: one picture for each of its channels, all on one scale.

    Of a signal the channels are the rows of one picture.

    Parameters
    ----------
    model : Module
    layer : str
        The layer's name, as `Module.modules` and `Module.summary` give it; ``""`` is the model itself.
    image : array (C, H, W), or a signal (C, L)
        One input, without the batch axis: uint8, which the model scales to [0, 1], or float.
    ax : matplotlib.axes.Axes, optional
        Where to draw; by default a new figure.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    TypeError, ValueError
        For arguments that cannot be; a name that the model has not, an image that it does not take, and a layer that
        returns no maps.
    ImportError
        Where matplotlib is missing; the message names the pip command.
    """
    check_layer("feature_maps", model, layer)
    check_axes("feature_maps", ax)
    maps = FeatureExtractor(model, layer)(view("feature_maps", "image", image)[np.newaxis])
    if not isinstance(maps, np.ndarray) or maps.ndim not in (3, 4):
        returned = f"shape {maps.shape}" if isinstance(maps, np.ndarray) else f"{len(maps)} arrays"
        raise ValueError(f"feature_maps: layer {layer!r} returns {returned}, not maps (1, C, H, W) or (1, C, L)")
    channels = maps.shape[1]
    columns = _square(channels)
    size = (6, 1 + 0.25 * channels) if maps.ndim == 3 else _inches(maps[0], columns)
    with axes_or_new("feature_maps", ax, size) as ax:
        if maps.ndim == 3:
            ax.imshow(maps[0], aspect="auto", interpolation="nearest")
            ax.set(xlabel="position", ylabel="channel", yticks=range(channels))
        else:
            _draw(ax, maps[0], columns, vmin=maps.min(), vmax=maps.max())
        ax.set_title(f"{label_of(layer, dict(model.modules())[layer])}, {times(*maps.shape[1:])}")
    return ax


def mistakes(model: Module | np.ndarray, dataset: Dataset, count: int = 12, ax: Axes | None = None) -> Axes:
    """Draw the images that a classifier is most mistaken about.

    Most mistaken is where the score of the class it takes the image for is furthest above that of the true one.  Over
    each image stands its class and, behind the arrow, what it was taken for.

    Parameters
    ----------
    model : Module or array (N, classes)
        A classifier, or its scores (logits or probabilities) for all images.
    dataset : Dataset
        Images of 1, 3 or 4 channels and their labels.
    count : int
        How many images to draw at most.
    ax : matplotlib.axes.Axes, optional
        Where to draw; by default a new figure.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    TypeError
        Where `dataset` is no Dataset, scores are not numbers, or Axes are none.
    ValueError
        For images that cannot be drawn, scores that are not one for each image and class, and a `count` below 1.
    ImportError
        Where matplotlib is missing; the message names the pip command.
    """
    check_axes("mistakes", ax)
    _check_drawable(dataset)
    count = integer("mistakes", "count", count, 1)
    scores = _scores(model, dataset.images) if isinstance(model, Module) else model
    scores = real_numbers("mistakes", "scores", scores)
    expected = (len(dataset), len(dataset.classes))
    if scores.shape != expected:
        raise ValueError(f"mistakes: scores must have shape (images, classes) = {expected}, not {scores.shape}")
    taken_for = scores.argmax(1)
    excess = scores.max(1) - scores[np.arange(len(scores)), dataset.labels]
    wrong = np.flatnonzero(taken_for != dataset.labels)
    worst = wrong[np.argsort(-excess[wrong], kind="stable")][:count]

    images = dataset.images[worst].transpose(0, 2, 3, 1)  # (count, H, W, C)
    tiles = images[..., 0] if images.shape[-1] == 1 else images / 255
    columns = min(6, max(len(worst), 1))
    height, width = tiles.shape[1:3]
    gap = (height // 2, width // 5)  # the upper one holds two lines of text
    with axes_or_new("mistakes", ax, _inches(tiles, columns, gap, side=1.2)) as ax:
        _draw(ax, tiles, columns, gap, cmap="gray", vmin=0, vmax=255)
        for place, sample in enumerate(worst):
            row, column = divmod(place, columns)
            top, middle = row * (height + gap[0]) - 1, column * (width + gap[1]) + width / 2 - 0.5
            text = f"{dataset.classes[dataset.labels[sample]]}\n→ {dataset.classes[taken_for[sample]]}"
            ax.text(middle, top, text, ha="center", va="bottom", fontsize=8)
        if not len(worst):
            ax.set_title(f"no mistake among {len(dataset):,} images")
    return ax


def _check_drawable(dataset: Any) -> None:
    """Refuse what is no Dataset, and images that are no pictures."""
    if not isinstance(dataset, Dataset):
        raise TypeError(f"mistakes: dataset must be a Dataset, not {type(dataset).__name__}")
    channels, *size = dataset.images.shape[1:]
    if channels not in (1, 3, 4) or 0 in size:
        came = f"shape {dataset.images.shape}"
        raise ValueError(f"mistakes: dataset must hold images (N, C, H, W) of 1, 3 or 4 channels, not of {came}")
    if not dataset.classes:
        raise ValueError("mistakes: dataset must have classes")


def _kernels(layer: Module | Parameter | np.ndarray) -> np.ndarray:
    """The weights of a layer as (O, I, kh, kw)."""
    held = getattr(layer, "weight", None) if isinstance(layer, Module) else layer
    if held is None:
        raise TypeError(f"filters: {type(layer).__name__} has no weight to draw")
    weight = real_numbers("filters", "weight", held.value if isinstance(held, Parameter) else held)
    if weight.ndim not in (3, 4):
        raise ValueError(f"filters: weight must have shape (O, I, kh, kw) or (O, I, k), not {weight.shape}")
    if not weight.size:
        raise ValueError(f"filters: weight must hold kernels, but is of shape {weight.shape}")
    if isinstance(layer, ConvTranspose2d):
        weight = weight.swapaxes(0, 1)  # from (I, O, kh, kw)
    return weight if weight.ndim == 4 else weight[:, :, np.newaxis]


def _scores(model: Module, images: np.ndarray | PictureFiles) -> np.ndarray:
    return np.concatenate([model(images[start : start + BATCH]) for start in range(0, max(len(images), 1), BATCH)])


def _square(count: int) -> int:
    """Columns of a layout about as wide as high."""
    return max(ceil(sqrt(count)), 1)


def _colours(values: np.ndarray) -> np.ndarray:
    """Values from -1 to 1 as shares of a colour: 0 is grey, NaN white, what lies beyond is cut off."""
    return np.where(np.isnan(values), 1.0, np.clip(0.5 + values / 2, 0, 1))


def _inches(tiles: np.ndarray, columns: int, gap: tuple[int, int] = (1, 1), side: float = 0.8) -> tuple[float, float]:
    """Width and height of a figure for tiles (count, h, w, …), each `side` wide if there is room."""
    height, width = tiles.shape[1:3]
    across, down = side * columns, side * _rows(tiles, columns) * (height + gap[0]) / (width + gap[1])
    scale = min(1, LARGEST / max(across, down))
    return max(scale * across, 3), max(scale * down, 1.5)


def _draw(ax: Axes, tiles: np.ndarray, columns: int, gap: tuple[int, int] = (1, 1), **how: Any) -> None:
    """Draw tiles (count, h, w) or, in colour, (count, h, w, 3) row by row."""
    ax.imshow(_mosaic(tiles, columns, gap), interpolation="nearest", **how)
    ax.set_axis_off()


def _rows(tiles: np.ndarray, columns: int) -> int:
    return max(ceil(len(tiles) / columns), 1)


def _mosaic(tiles: np.ndarray, columns: int, gap: tuple[int, int]) -> np.ndarray:
    """One array of all tiles: gaps are NaN, which is not drawn, or white between colours."""
    rows = _rows(tiles, columns)
    height, width, *colours = tiles.shape[1:]
    step = (height + gap[0], width + gap[1])
    empty = 1.0 if colours else np.nan
    whole = np.full((rows * step[0] - gap[0], columns * step[1] - gap[1], *colours), empty)
    for place, tile in enumerate(tiles):
        top, left = step[0] * (place // columns), step[1] * (place % columns)
        whole[top : top + height, left : left + width] = tile
    return whole
