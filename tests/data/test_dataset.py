"""Dataset: two arrays that fit each other, and parts of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from convkit.data import Dataset, PictureFiles

CLASSES = ["zero", "one", "two"]


@pytest.fixture
def dataset() -> Dataset:
    images = np.arange(6 * 4, dtype=np.uint8).reshape(6, 1, 2, 2)
    return Dataset(images, [0, 1, 2, 0, 1, 2], classes=CLASSES, name="toy", split="train", source="here")


def test_keeps_what_it_is_given(dataset: Dataset) -> None:
    assert dataset.images.shape == (6, 1, 2, 2)
    assert dataset.images.dtype == np.uint8
    assert dataset.labels.dtype == np.int64
    assert dataset.classes == ("zero", "one", "two")
    assert (dataset.name, dataset.split, dataset.source) == ("toy", "train", "here")
    assert len(dataset) == 6
    assert repr(dataset) == "<Dataset toy train: 6 images (1, 2, 2), 3 classes, from here>"


def test_does_not_copy_images() -> None:
    images = np.zeros((2, 3, 4, 5), dtype=np.uint8)
    assert Dataset(images, [0, 0], classes=CLASSES).images is images


@pytest.mark.parametrize(
    "index",
    [
        slice(1, 4),
        slice(None, None, -2),
        [3, 0, 3],
        np.array([5, -1]),
        np.array([True, False, False, True, False, True]),
        [],
    ],
    ids=str,
)
def test_part_is_a_dataset(dataset: Dataset, index: Any) -> None:
    part = dataset[index]
    assert isinstance(part, Dataset)
    np.testing.assert_array_equal(part.images, dataset.images[index])
    np.testing.assert_array_equal(part.labels, dataset.labels[index])
    assert part.classes == dataset.classes
    assert (part.name, part.split, part.source) == ("toy", "train", "here")


@pytest.mark.parametrize("index", [2, -4, np.int64(2), np.array(2)])
def test_one_sample_is_a_dataset_of_one(dataset: Dataset, index: Any) -> None:
    part = dataset[index]
    assert len(part) == 1
    np.testing.assert_array_equal(part.images, dataset.images[2:3])
    np.testing.assert_array_equal(part.labels, [2])


def test_slice_shares_memory(dataset: Dataset) -> None:
    assert np.shares_memory(dataset[2:4].images, dataset.images)


@pytest.mark.parametrize("index", [6, -7, [0, 6], 1.0, None, "a"])
def test_bad_index_is_refused(dataset: Dataset, index: Any) -> None:
    with pytest.raises(IndexError):
        dataset[index]


@pytest.mark.parametrize(
    ("index", "error", "message"),
    [
        (6, IndexError, "index must choose among 6 images, but index 6 is out of bounds"),
        (-7, IndexError, "index must choose among 6 images, but index -7 is out of bounds"),
        ([0, 6], IndexError, "index must choose among 6 images, but index 6 is out of bounds"),
        (2**70, IndexError, "index must choose among 6 images, but "),
        (1.0, IndexError, "index must choose among 6 images, but only integers"),
        ("a", IndexError, "index must choose among 6 images, but only integers"),
        ([[0], [1, 2]], IndexError, "index must choose among 6 images, but "),
        (slice(None, None, 0), IndexError, "index must choose among 6 images, but slice step cannot be zero"),
        (slice("a"), TypeError, "index must choose among 6 images, but slice indices must be integers"),
        (np.ones(5, bool), IndexError, "index must choose among 6 images, but boolean index did not match"),
        (None, IndexError, r"index must choose samples in one row, not of shape \(1, 6\)"),
        (True, IndexError, r"index must choose samples in one row, not of shape \(1, 6\)"),
        ([[0, 1], [2, 3]], IndexError, r"index must choose samples in one row, not of shape \(2, 2\)"),
    ],
    ids=str,
)
def test_an_index_that_chooses_nothing_is_named(
    dataset: Dataset, index: Any, error: type[Exception], message: str
) -> None:
    for images in (dataset.images, PictureFiles([f"{number}.png" for number in range(6)], 2)):
        with pytest.raises(error, match=f"^Dataset: {message}"):
            Dataset(images, dataset.labels, classes=CLASSES)[index]


def test_index_along_two_axes_is_refused(dataset: Dataset) -> None:
    with pytest.raises(TypeError, match="an index picks samples only"):
        dataset[0, 0]


def test_is_not_iterable(dataset: Dataset) -> None:
    with pytest.raises(TypeError, match="not iterable"):
        _images, _labels = dataset  # type: ignore[misc]


@pytest.mark.parametrize(
    "classes", [list("abc"), tuple("abc"), np.array(list("abc")), dict.fromkeys("abc"), iter("abc")]
)
def test_classes_come_in_whatever_holds_names(classes: Any) -> None:
    assert Dataset(np.zeros((1, 1, 2, 2), np.uint8), [2], classes=classes).classes == ("a", "b", "c")


def test_may_be_empty() -> None:
    empty = Dataset(np.empty((0, 1, 28, 28), dtype=np.uint8), [], classes=CLASSES)
    assert len(empty) == 0
    assert empty.labels.dtype == np.int64


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.uint64, ">i8"])
def test_labels_of_any_integer_dtype(dtype: Any) -> None:
    labels = np.array([0, 2], dtype=dtype)
    found = Dataset(np.zeros((2, 1, 2, 2), dtype=np.uint8), labels, classes=CLASSES).labels
    assert found.dtype == np.int64
    np.testing.assert_array_equal(found, [0, 2])


@pytest.mark.parametrize(
    ("images", "labels", "classes", "error", "message"),
    [
        (np.zeros((2, 1, 2, 2)), [0, 0], CLASSES, TypeError, "images must be uint8, not float64"),
        (np.zeros((2, 2, 2), np.uint8), [0, 0], CLASSES, ValueError, r"4 axes .* not shape \(2, 2, 2\)"),
        (np.zeros((2, 1, 2, 2), np.uint8), [0.0, 1.0], CLASSES, TypeError, "must be integers, not float64"),
        (np.zeros((2, 1, 2, 2), np.uint8), [0, 0, 0], CLASSES, ValueError, r"shape \(2,\) .* not \(3,\)"),
        (np.zeros((2, 1, 2, 2), np.uint8), [[0], [0]], CLASSES, ValueError, r"shape \(2,\) .* not \(2, 1\)"),
        (np.zeros((2, 1, 2, 2), np.uint8), [0, 3], CLASSES, ValueError, "0 … 2 for 3 classes, but are 0 … 3"),
        (np.zeros((2, 1, 2, 2), np.uint8), [-1, 2], CLASSES, ValueError, "but are -1 … 2"),
        (np.zeros((2, 1, 2, 2), np.uint8), [0, 0], "abc", TypeError, "classes must be a sequence of names"),
        (np.zeros((2, 1, 2, 2), np.uint8), [0, 0], [0, 1], TypeError, "classes must be a sequence of names"),
        (np.zeros((2, 1, 2, 2), np.uint8), [0, 0], None, TypeError, "classes must be a sequence of names, not None"),
        (np.zeros((2, 1, 2, 2), np.uint8), [0, 0], 3, TypeError, "classes must be a sequence of names, not 3"),
    ],
)
def test_what_does_not_fit_is_refused(
    images: Any, labels: Any, classes: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=f"Dataset: .*{message}"):
        Dataset(images, labels, classes=classes)
