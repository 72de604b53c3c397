"""Augmentation: images changed at random as they are trained on, so that a network meets none of them twice.

Each kind is a small frozen dataclass, called with a whole batch and a random generator::

    images, labels = RandomShift(2)(images, labels, generator)

and a plain sequence of them is a chain: ``trainer.fit(train, augment=[RandomShift(2), RandomHorizontalFlip()])``.
Any function of that form can stand among them. Every image of the batch is drawn for by itself. Images are
(N, C, H, W), of uint8 in [0, 255] or of float32 or float64 in [0, 1], and keep their dtype and byte order; black is 0.
Arrays that are given are never changed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from convkit.errors import integer, integers, number, one_of, positive, said, share, view
from convkit.geometry import check_volume

Augmentation = Callable[[np.ndarray, np.ndarray, np.random.Generator], tuple[np.ndarray, np.ndarray]]

FILLS = ("zero", "edge")
DTYPES = (np.dtype(np.uint8), np.dtype(np.float32), np.dtype(np.float64))
MOST = 1e6  # of enlargements and of heights over widths, and one over it the least; of MixUp's alpha
TRIES = 10  # how many rectangles of random area and form are drawn at most until one fits into the image


@dataclass(frozen=True)
class RandomShift:
    """Shift by whole pixels, down or up and right or left; the same as `RandomCrop` at the size of the image.

    Parameters
    ----------
    pixels : int
        The largest shift; each from -pixels to pixels is equally likely, along both axes.
    fill : {"zero", "edge"}
        What moves in from outside: black, or the nearest pixel of the image.

    Raises
    ------
    TypeError, ValueError
        For `pixels` below 0, and an unknown `fill`; when called, for `pixels` above height or width.

    References
    ----------
    Simard, Steinkraus, Platt 2003, "Best practices for convolutional neural networks applied to visual document
    analysis", section 2.
    """

    pixels: int
    fill: str = "zero"

    def __post_init__(self) -> None:
        integer("RandomShift", "pixels", self.pixels, 0)
        one_of("RandomShift", "fill", self.fill, FILLS)

    def __call__(
        self, images: np.ndarray, labels: np.ndarray, generator: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return shifted images (N, C, H, W), and the labels as they are."""
        images, labels = _checked("RandomShift", images, labels, generator, "integers")
        if self.pixels > min(images.shape[2:]):
            raise ValueError(f"RandomShift: pixels is {self.pixels}, more than images of shape {images.shape} have")
        return _crop(_padded(images, self.pixels, self.fill), images.shape[2:], generator), labels


@dataclass(frozen=True)
class RandomCrop:
    """A part of the image, padded before if asked, at a random place.

    Parameters
    ----------
    size : int or (int, int)
        Height and width of what is left.
    padding : int
        Pixels put around the image first.
    fill : {"zero", "edge"}
        What the padding is: black, or the nearest pixel of the image.

    Raises
    ------
    TypeError, ValueError
        For numbers out of range and an unknown `fill`; when called, for a `size` larger than the padded image.

    References
    ----------
    Krizhevsky, Sutskever, Hinton 2012, "ImageNet classification with deep convolutional neural networks",
    section 4.1; with padding: He, Zhang, Ren, Sun 2016, "Deep residual learning for image recognition", section 4.2.
    """

    size: int | tuple[int, int]
    padding: int = 0
    fill: str = "zero"

    def __post_init__(self) -> None:
        integers("RandomCrop", "size", self.size, 2, 1)
        integer("RandomCrop", "padding", self.padding, 0)
        one_of("RandomCrop", "fill", self.fill, FILLS)

    def __call__(
        self, images: np.ndarray, labels: np.ndarray, generator: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return parts of the images (N, C, *size), and the labels as they are."""
        images, labels = _checked("RandomCrop", images, labels, generator, "integers")
        height, width = integers("RandomCrop", "size", self.size, 2, 1)
        whole = tuple(n + 2 * self.padding for n in images.shape[2:])
        check_volume("RandomCrop", (*images.shape[:2], *whole), "images with padding")
        padded = _padded(images, self.padding, self.fill)
        if height > padded.shape[2] or width > padded.shape[3]:
            raise ValueError(
                f"RandomCrop: size ({height}, {width}) is larger than images of {images.shape[2]} × "
                f"{images.shape[3]} with {self.padding} pixels of padding"
            )
        return _crop(padded, (height, width), generator), labels


@dataclass(frozen=True)
class RandomHorizontalFlip:
    """Exchange left and right.

    Parameters
    ----------
    p : float
        How likely an image is flipped, from 0 to 1.

    Raises
    ------
    TypeError, ValueError
        For `p` out of range.

    References
    ----------
    Krizhevsky, Sutskever, Hinton 2012, "ImageNet classification with deep convolutional neural networks",
    section 4.1.
    """

    p: float = 0.5

    def __post_init__(self) -> None:
        share("RandomHorizontalFlip", "p", self.p)

    def __call__(
        self, images: np.ndarray, labels: np.ndarray, generator: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return images (N, C, H, W), some of them flipped, and the labels as they are."""
        images, labels = _checked("RandomHorizontalFlip", images, labels, generator, "random")
        flipped = generator.random(len(images)) < self.p
        images = images.copy()
        images[flipped] = images[flipped, :, :, ::-1]
        return images, labels


@dataclass(frozen=True)
class RandomRotation:
    """Turn about the middle and change the size, with bilinear interpolation.

    Where the image is turned by φ (anticlockwise) and enlarged by s, the value at (i, j) is that of the image at ::

        i' = c + (cos φ · (i - c) + sin φ · (j - d)) / s      c = (H - 1) / 2
        j' = d + (cos φ · (j - d) - sin φ · (i - c)) / s      d = (W - 1) / 2

    weighted from the four pixels around.

    Parameters
    ----------
    degrees : float
        The largest angle; those from -degrees to degrees are equally likely.
    scale : (float, float)
        The smallest and the largest s, from 1e-6 on and below 1e6.
    fill : {"zero", "edge"}
        What lies around the image: black, or the nearest pixel of the image.

    Raises
    ------
    TypeError, ValueError
        For numbers out of range and an unknown `fill`.

    References
    ----------
    Simard, Steinkraus, Platt 2003, "Best practices for convolutional neural networks applied to visual document
    analysis", section 2.
    """

    degrees: float
    scale: tuple[float, float] = (1.0, 1.0)
    fill: str = "zero"

    def __post_init__(self) -> None:
        number("RandomRotation", "degrees", self.degrees, below=1e6)
        _check_range("RandomRotation", "scale", self.scale, MOST)
        one_of("RandomRotation", "fill", self.fill, FILLS)

    def __call__(
        self, images: np.ndarray, labels: np.ndarray, generator: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return turned images (N, C, H, W), and the labels as they are."""
        images, labels = _checked("RandomRotation", images, labels, generator, "uniform")
        count, _, height, width = images.shape
        angle = np.radians(generator.uniform(-self.degrees, self.degrees, (count, 1, 1)))
        scale = generator.uniform(*self.scale, (count, 1, 1))
        i, j = np.ogrid[:height, :width]
        i, j = i - (height - 1) / 2, j - (width - 1) / 2
        cos, sin = np.cos(angle) / scale, np.sin(angle) / scale
        rows = (height - 1) / 2 + cos * i + sin * j  # (N, H, W), as the columns
        columns = (width - 1) / 2 + cos * j - sin * i
        return _interpolated(_padded(images, 1, self.fill), rows + 1, columns + 1), labels


@dataclass(frozen=True)
class RandomErasing:
    """Overwrite a rectangle of random place, area and form.

    Its area is a share S of the image's, height over width are r. A rectangle that does not fit into the image is
    drawn anew; after ten the image stays as it is.

    Parameters
    ----------
    p : float
        How likely an image loses a rectangle, from 0 to 1.
    scale : (float, float)
        The smallest and the largest S, above 0 and up to 1; those between are equally likely.
    ratio : (float, float)
        The smallest and the largest r, from 1e-6 on and below 1e6; those between are equally likely.
    fill : {"random", "zero"}
        Noise, uniform from black to white and for each pixel another; or black.

    Raises
    ------
    TypeError, ValueError
        For numbers out of range and an unknown `fill`.

    References
    ----------
    Zhong, Zheng, Kang, Li, Yang 2017, "Random erasing data augmentation", section 3.2, algorithm 1 (there p = 0.5,
    S from 0.02 to 0.4, r from 0.3 to 1/0.3), with the place drawn among those where the rectangle fits.
    """

    p: float = 0.5
    scale: tuple[float, float] = (0.02, 0.4)
    ratio: tuple[float, float] = (0.3, 1 / 0.3)
    fill: str = "random"

    def __post_init__(self) -> None:
        share("RandomErasing", "p", self.p)
        _check_range("RandomErasing", "scale", self.scale)
        share("RandomErasing", "scale[1]", self.scale[1])
        _check_range("RandomErasing", "ratio", self.ratio, MOST)
        one_of("RandomErasing", "fill", self.fill, ("random", "zero"))

    def __call__(
        self, images: np.ndarray, labels: np.ndarray, generator: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return images (N, C, H, W) with a rectangle less, and the labels as they are."""
        images, labels = _checked("RandomErasing", images, labels, generator, "random", "uniform", "integers")
        count, _, height, width = images.shape
        chosen = generator.random(count) < self.p
        area = height * width * generator.uniform(*self.scale, (count, TRIES))
        ratio = generator.uniform(*self.ratio, (count, TRIES))
        heights, widths = np.rint(np.sqrt(area * ratio)), np.rint(np.sqrt(area / ratio))
        fits = (heights <= height) & (widths <= width)
        first = np.arange(count), fits.argmax(axis=1)
        tall, wide = heights[first], widths[first]
        top = np.floor(generator.random(count) * (height - tall + 1))
        left = np.floor(generator.random(count) * (width - wide + 1))
        inside = _rectangles(images.shape, top, left, top + tall, left + wide)
        inside &= (chosen & fits.any(axis=1))[:, None, None, None]
        filling = _noise(images, generator) if self.fill == "random" else 0
        return _overwritten(images, inside, filling), labels


@dataclass(frozen=True)
class Cutout:
    """Blacken a square whose middle may be any pixel, so that part of it may lie outside.

    Parameters
    ----------
    size : int
        The square's side.

    Raises
    ------
    TypeError, ValueError
        For a `size` below 1.

    References
    ----------
    DeVries, Taylor 2017, "Improved regularization of convolutional neural networks with cutout", section 3.2.
    """

    size: int

    def __post_init__(self) -> None:
        integer("Cutout", "size", self.size, 1)

    def __call__(
        self, images: np.ndarray, labels: np.ndarray, generator: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return images (N, C, H, W) with a black square each, and the labels as they are."""
        images, labels = _checked("Cutout", images, labels, generator, "integers")
        count, _, height, width = images.shape
        top = generator.integers(0, height, count) - self.size // 2
        left = generator.integers(0, width, count) - self.size // 2
        inside = _rectangles(images.shape, top, left, top + self.size, left + self.size)
        return _overwritten(images, inside, 0), labels


@dataclass(frozen=True)
class MixUp:
    """Blend each image, and its label, with another of the batch.

    With λ drawn from Beta(α, α) for each pair, and y as a row of probabilities::

        x ← λ x_i + (1 - λ) x_j
        y ← λ y_i + (1 - λ) y_j

    Blended uint8 images are rounded to whole numbers. The accuracy of such a batch is the share of images whose
    likeliest class is that of the larger part.

    Parameters
    ----------
    classes : int
        How many there are.
    alpha : float
        α, below 1e6: the smaller, the closer λ is to 0 or 1. The paper has 0.2 to 0.4 for ImageNet, 1 for CIFAR-10.

    Raises
    ------
    TypeError, ValueError
        For numbers out of range; when called, for labels that are neither integers from 0 to classes - 1 nor rows
        of floats from 0 to 1.

    References
    ----------
    Zhang, Cisse, Dauphin, Lopez-Paz 2018, "mixup: beyond empirical risk minimization", section 2, equation 1.
    """

    classes: int
    alpha: float = 0.2

    def __post_init__(self) -> None:
        integer("MixUp", "classes", self.classes, 1)
        number("MixUp", "alpha", positive("MixUp", "alpha", self.alpha), below=MOST)

    def __call__(
        self, images: np.ndarray, labels: np.ndarray, generator: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return blended images (N, C, H, W), and labels as float32 probabilities (N, classes)."""
        images, labels = _checked("MixUp", images, labels, generator, "permutation", "beta")
        check_volume("MixUp", (len(images), self.classes), "labels for all classes")
        rows = self._probabilities(labels)
        other = generator.permutation(len(images))
        share = generator.beta(self.alpha, self.alpha, (len(images), 1)).astype(np.float32)
        weight = share[:, :, None, None].astype(_blend_dtype(images))
        mixed = weight * images + (1 - weight) * images[other]
        return _as_images(mixed, images.dtype), share * rows + (1 - share) * rows[other]

    def _probabilities(self, labels: np.ndarray) -> np.ndarray:
        if labels.dtype.kind in "iu" and labels.ndim == 1:
            if len(labels) and not 0 <= labels.min() <= labels.max() < self.classes:
                found = f"{labels.min()} … {labels.max()}"
                raise ValueError(
                    f"MixUp: labels must be 0 … {self.classes - 1} for {self.classes} classes, not {found}"
                )
            rows = np.zeros((len(labels), self.classes), np.float32)
            rows[np.arange(len(labels)), labels] = 1
            return rows
        if labels.dtype.kind == "f" and labels.shape[1:] == (self.classes,):
            if not ((labels >= 0) & (labels <= 1)).all():
                raise ValueError("MixUp: labels must be probabilities, from 0 to 1, and not NaN")
            return labels.astype(np.float32, copy=False)
        raise ValueError(
            f"MixUp: labels must be integers (N,) or probabilities (N, {self.classes}), "
            f"not {labels.dtype} of shape {labels.shape}"
        )


def check_augment(function: str, augment: Any) -> tuple[Augmentation, ...]:
    """A chain of augmentations as a tuple; None is the empty one."""
    if augment is None:
        return ()
    if not isinstance(augment, Sequence) or isinstance(augment, str):
        raise TypeError(f"{function}: augment must be a sequence such as [RandomShift(2)], not {said(augment)}")
    for place, step in enumerate(augment):
        if isinstance(step, type) or not callable(step):
            raise TypeError(
                f"{function}: augment[{place}] must be called as step(images, labels, generator), and {step!r} cannot"
            )
    return tuple(augment)


def apply(
    function: str,
    augment: Sequence[Augmentation],
    images: np.ndarray,
    labels: np.ndarray,
    generator: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """The chain's result for a batch; one that returns something else than a batch is named."""
    count = len(images)
    for place, step in enumerate(augment):
        result = step(images, labels, generator)
        lengths = [len(part) for part in result] if _is_pair_of_arrays(result) else None
        if lengths != [count, count]:
            name = getattr(step, "__qualname__", type(step).__name__)
            raise ValueError(f"{function}: augment[{place}] ({name}) must return {count} images and {count} labels")
        images, labels = result
    return images, labels


def _is_pair_of_arrays(result: Any) -> bool:
    if not isinstance(result, tuple) or len(result) != 2:
        return False
    return all(isinstance(part, np.ndarray) and part.ndim > 0 for part in result)


# --- what images are made of ---


def _padded(images: np.ndarray, padding: int, fill: str) -> np.ndarray:
    around = (padding, padding)
    return np.pad(images, ((0, 0), (0, 0), around, around), mode="constant" if fill == "zero" else "edge")


def _crop(images: np.ndarray, size: tuple[int, ...], generator: np.random.Generator) -> np.ndarray:
    """Parts (N, C, *size) of images, each at a place drawn for it."""
    windows = sliding_window_view(images, size, axis=(2, 3))  # (N, C, places down, places across, *size)
    count, _, down, across = windows.shape[:4]
    top, left = generator.integers(0, down, count), generator.integers(0, across, count)
    return windows[np.arange(count), :, top, left]


def _interpolated(padded: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Values of padded images (N, C, H + 2, W + 2) at places (N, H, W) between pixels, as images (N, C, H, W).

    The padding is what lies outside, however far.
    """
    count, channels, height, width = padded.shape
    top, down = _split(rows, height, padded)
    left, right = _split(columns, width, padded)
    plane = np.arange(count * channels).reshape(count, channels, 1, 1) * (height * width)
    corner = plane + (top * width + left)[:, None]  # of all pixels counted through: (N, C, H, W)

    def pixels(offset: int) -> np.ndarray:
        return padded.take(corner + offset)

    upper = (1 - right) * pixels(0) + right * pixels(1)
    lower = (1 - right) * pixels(width) + right * pixels(width + 1)
    return _as_images((1 - down) * upper + down * lower, padded.dtype)


def _split(places: np.ndarray, size: int, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The pixel before each place (N, H, W), and how far behind it the place is, (N, 1, H, W) from 0 to 1."""
    places = np.clip(places, 0, size - 1)
    before = np.minimum(places.astype(np.intp), size - 2)
    return before, (places - before)[:, None].astype(_blend_dtype(images))


def _rectangles(shape: tuple[int, ...], top: Any, left: Any, bottom: Any, right: Any) -> np.ndarray:
    """Which pixels lie in the rectangle of their image, (N, 1, H, W); the ends do not belong to it."""
    rows, columns = np.arange(shape[2])[:, None], np.arange(shape[3])
    top, left, bottom, right = (side[:, None, None, None] for side in (top, left, bottom, right))
    return (rows >= top) & (rows < bottom) & (columns >= left) & (columns < right)


def _overwritten(images: np.ndarray, inside: np.ndarray, filling: Any) -> np.ndarray:
    """A copy of images (N, C, H, W), in their dtype and byte order, filled where (N, 1, H, W) is true."""
    images = images.copy()
    np.copyto(images, filling, where=inside)
    return images


def _noise(images: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Pixels from black to white, all equally likely, in the shape and dtype of images."""
    if images.dtype == np.uint8:
        return generator.integers(0, 256, images.shape, dtype=np.uint8)
    return generator.random(images.shape).astype(images.dtype)


def _blend_dtype(images: np.ndarray) -> np.dtype[Any]:
    """What weighted sums of images are computed in."""
    return np.dtype(np.float32) if images.dtype == np.uint8 else images.dtype


def _as_images(values: np.ndarray, dtype: np.dtype[Any]) -> np.ndarray:
    """Weighted sums of images as images again."""
    return np.rint(values).astype(dtype) if dtype == np.uint8 else values.astype(dtype, copy=False)


# --- checks ---


def _checked(name: str, images: Any, labels: Any, generator: Any, *draws: str) -> tuple[np.ndarray, np.ndarray]:
    """Images and labels as arrays, if a step can change them with a generator that has the methods it draws by."""
    if not all(hasattr(generator, draw) for draw in draws):
        raise TypeError(f"{name}: generator must be a numpy.random.Generator, not {said(generator)}")
    images, labels = view(name, "images", images), view(name, "labels", labels)
    if images.ndim != 4:
        raise ValueError(f"{name}: images must have 4 axes (N, C, H, W), not shape {images.shape}")
    if 0 in images.shape[2:]:
        raise ValueError(f"{name}: images must have pixels, not shape {images.shape}")
    if images.dtype.newbyteorder("=") not in DTYPES:
        raise TypeError(f"{name}: images must be uint8, float32 or float64, not {images.dtype}")
    if labels.ndim not in (1, 2) or len(labels) != len(images):
        raise ValueError(
            f"{name}: labels must be one number or row for each of {len(images)} images, not of shape {labels.shape} "
            "(labels of pixels would have to move with them)"
        )
    return images, labels


def _check_range(name: str, argument: str, value: Any, most: float = math.inf) -> None:
    if not isinstance(value, tuple) or len(value) != 2:
        raise TypeError(f"{name}: {argument} must be a pair (smallest, largest), not {said(value)}")
    low, high = (positive(name, f"{argument}[{place}]", bound) for place, bound in enumerate(value))
    if low > high:
        raise ValueError(f"{name}: {argument} must be a pair (smallest, largest), not {said(value)}")
    for place, bound in enumerate(value):
        number(name, f"{argument}[{place}]", bound, 1 / most, most)
