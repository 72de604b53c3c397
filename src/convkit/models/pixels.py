"""What networks that name the class of each pixel are trained on."""

from __future__ import annotations

import numpy as np

from convkit.data import Dataset


def lit_pixels(dataset: Dataset) -> np.ndarray:
    """A class for each pixel: that of the image where it is lit, the one behind the last where it is background.

    Parameters
    ----------
    dataset : Dataset of images (N, 1, H, W)

    Returns
    -------
    array (N, H, W) of uint8
    """
    background = len(dataset.classes)
    return np.where(dataset.images[:, 0] > 0, dataset.labels[:, None, None], background).astype(np.uint8)
