"""Augmentation: each kind against plain loops, its distribution, and batches made in the background."""

from __future__ import annotations

import math
import threading
from typing import Any

import numpy as np
import pytest

from convkit import data
from convkit.data import (
    Batches,
    Cutout,
    MixUp,
    RandomCrop,
    RandomErasing,
    RandomHorizontalFlip,
    RandomRotation,
    RandomShift,
)

EVERY = [
    RandomShift(2),
    RandomShift(3, fill="edge"),
    RandomCrop(6, padding=1),
    RandomHorizontalFlip(),
    RandomRotation(30, scale=(0.8, 1.2)),
    RandomErasing(),
    RandomErasing(fill="zero"),
    Cutout(3),
    MixUp(10),
]


def images_of(count: int, shape: tuple[int, ...] = (2, 7, 9), dtype: str = "uint8") -> np.ndarray:
    """Images without a single black pixel, so that it shows where black has come in."""
    images = np.random.default_rng(7).integers(1, 256, (count, *shape), dtype=np.uint8)
    return images if dtype == "uint8" else (images / 255).astype(dtype)


def labels_of(count: int) -> np.ndarray:
    return np.arange(count) % 10


def augmented(step: Any, images: np.ndarray, seed: int = 0) -> np.ndarray:
    return step(images, labels_of(len(images)), np.random.default_rng(seed))[0]


def shifted(image: np.ndarray, down: int, right: int, fill: str) -> np.ndarray:
    """An image (C, H, W) moved by whole pixels."""
    _, height, width = image.shape
    result = np.zeros_like(image)
    for i in range(height):
        for j in range(width):
            row, column = i - down, j - right
            if fill == "edge":
                row, column = min(max(row, 0), height - 1), min(max(column, 0), width - 1)
            if 0 <= row < height and 0 <= column < width:
                result[:, i, j] = image[:, row, column]
    return result


# --- each kind by itself ---


@pytest.mark.parametrize("step", EVERY, ids=repr)
@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64"])
def test_dtype_and_number_stay_and_nothing_given_is_changed(step: Any, dtype: str) -> None:
    images = images_of(12, dtype=dtype)
    labels = labels_of(12)
    images.setflags(write=False)
    labels.setflags(write=False)
    result, targets = step(images[:, :, ::-1], labels, np.random.default_rng(0))
    assert result.dtype == images.dtype and len(result) == len(targets) == 12
    assert not np.shares_memory(result, images)
    assert 0 <= result.min() <= result.max() <= (255 if dtype == "uint8" else 1)
    assert (result != images[:, :, ::-1]).any() if result.shape == images.shape else True
    if not isinstance(step, MixUp):
        np.testing.assert_array_equal(targets, labels)


@pytest.mark.parametrize("step", EVERY, ids=repr)
def test_the_generator_decides_all(step: Any) -> None:
    images = images_of(20)
    np.testing.assert_array_equal(augmented(step, images, 3), augmented(step, images, 3))
    assert (augmented(step, images, 3) != augmented(step, images, 4)).any()


@pytest.mark.parametrize("step", EVERY, ids=repr)
def test_an_empty_batch_stays_empty(step: Any) -> None:
    assert len(augmented(step, images_of(0))) == 0


@pytest.mark.parametrize("fill", ["zero", "edge"])
def test_shift_moves_each_image_by_pixels_of_its_own(fill: str) -> None:
    images = images_of(300)
    moves = [(down, right) for down in range(-2, 3) for right in range(-2, 3)]
    counts = dict.fromkeys(moves, 0)
    for image, result in zip(images, augmented(RandomShift(2, fill), images), strict=True):
        matching = [move for move in moves if (result == shifted(image, *move, fill)).all()]
        assert len(matching) == 1
        counts[matching[0]] += 1
    assert min(counts.values()) > 0 and max(counts.values()) < 36  # 12 are expected of each


def test_crop_is_a_part_of_the_padded_image() -> None:
    images = images_of(200, (3, 5, 6))
    result = augmented(RandomCrop((4, 7), padding=1), images)
    assert result.shape == (200, 3, 4, 7)
    places = set()
    for image, part in zip(images, result, strict=True):
        padded = np.zeros((3, 7, 8), np.uint8)
        padded[:, 1:6, 1:7] = image
        matching = [
            (top, left)
            for top in range(4)
            for left in range(2)
            if (part == padded[:, top : top + 4, left : left + 7]).all()
        ]
        assert len(matching) == 1
        places.add(matching[0])
    assert len(places) == 4 * 2
    np.testing.assert_array_equal(augmented(RandomCrop((5, 6)), images), images)


def test_flip_exchanges_left_and_right_of_a_part_of_the_images() -> None:
    images = images_of(400)
    flipped = 0
    for image, result in zip(images, augmented(RandomHorizontalFlip(0.25), images), strict=True):
        mirrored = np.stack([[row[::-1] for row in channel] for channel in image])
        assert (result == image).all() or (result == mirrored).all()
        flipped += bool((result == mirrored).all())
    assert 65 < flipped < 135
    np.testing.assert_array_equal(augmented(RandomHorizontalFlip(0), images), images)
    np.testing.assert_array_equal(augmented(RandomHorizontalFlip(1), images), images[..., ::-1])


def bilinear(image: np.ndarray, row: float, column: float, fill: str) -> np.ndarray:
    """The value of an image (C, H, W) between its pixels."""
    _, height, width = image.shape
    total = np.zeros(len(image))
    for i in (math.floor(row), math.floor(row) + 1):
        for j in (math.floor(column), math.floor(column) + 1):
            weight = (1 - abs(row - i)) * (1 - abs(column - j))
            if fill == "edge":
                total += weight * image[:, min(max(i, 0), height - 1), min(max(j, 0), width - 1)]
            elif 0 <= i < height and 0 <= j < width:
                total += weight * image[:, i, j]
    return total


def turned(image: np.ndarray, angle: float, scale: float, fill: str) -> np.ndarray:
    """An image (C, H, W) turned anticlockwise about its middle, by complex numbers; up is the imaginary axis."""
    _, height, width = image.shape
    result = np.zeros(image.shape)
    for i in range(height):
        for j in range(width):
            place = complex(j - (width - 1) / 2, (height - 1) / 2 - i)
            source = place / (scale * complex(math.cos(angle), math.sin(angle)))
            row, column = (height - 1) / 2 - source.imag, source.real + (width - 1) / 2
            result[:, i, j] = bilinear(image, row, column, fill)
    return result


class Fixed:
    """In place of a generator: what `uniform` gives, call by call."""

    def __init__(self, *draws: Any) -> None:
        self.draws = list(draws)

    def uniform(self, low: float, high: float, size: Any) -> np.ndarray:
        values = np.asarray(self.draws.pop(0), float).reshape(size)
        assert (values >= low).all() and (values <= high).all()
        return values


@pytest.mark.parametrize("fill", ["zero", "edge"])
@pytest.mark.parametrize(("dtype", "tolerance"), [("uint8", 0.502), ("float32", 1e-5), ("float64", 1e-12)])
def test_rotation_is_bilinear(fill: str, dtype: str, tolerance: float) -> None:
    angles, scales = [0, 90, -30, 45, 180, 13.7], [1, 1, 0.7, 1.4, 0.25, 1.1]
    images = images_of(6, dtype=dtype)
    result, _ = RandomRotation(180, (0.2, 2), fill)(images, labels_of(6), Fixed(angles, scales))  # type: ignore[arg-type]
    for image, found, angle, scale in zip(images, result, angles, scales, strict=True):
        expected = turned(image.astype(float), math.radians(angle), scale, fill)
        np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance)


def test_rotation_by_nothing_and_by_quarters_is_exact() -> None:
    images = images_of(3, (2, 8, 8))
    np.testing.assert_array_equal(augmented(RandomRotation(0), images), images)
    quarter, _ = RandomRotation(90)(images, labels_of(3), Fixed([90, 90, 90], [1, 1, 1]))  # type: ignore[arg-type]
    np.testing.assert_array_equal(quarter, np.rot90(images, axes=(2, 3)))


def box_of(changed: np.ndarray) -> tuple[int, int, int, int]:
    """The rectangle that changed pixels (H, W) fill: top, left, height, width."""
    rows, columns = np.flatnonzero(changed.any(axis=1)), np.flatnonzero(changed.any(axis=0))
    top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    assert changed[top:bottom, left:right].all()
    return top, left, bottom - top, right - left


def test_erasing_blackens_rectangles_of_the_areas_and_forms_asked_for() -> None:
    images = images_of(600, (2, 20, 30))
    step = RandomErasing(0.7, scale=(0.1, 0.3), ratio=(0.5, 2), fill="zero")
    boxes = []
    for image, result in zip(images, augmented(step, images), strict=True):
        black = (result == 0).all(axis=0)
        np.testing.assert_array_equal(result, np.where(black, 0, image))
        if black.any():
            boxes.append(box_of(black))
    assert 370 < len(boxes) < 470  # 420 are expected
    tops, lefts, heights, widths = np.array(boxes, float).T
    shares, ratios = heights * widths / 600, heights / widths
    assert 0.09 < shares.min() < 0.13 and 0.27 < shares.max() < 0.33
    assert 0.45 < ratios.min() < 0.6 and 1.7 < ratios.max() < 2.2
    assert tops.min() == 0 and lefts.min() == 0
    assert (tops + heights).max() == 20 and (lefts + widths).max() == 30


def test_erasing_can_leave_noise_behind() -> None:
    for dtype, white in (("uint8", 255), ("float32", 1)):
        images = np.zeros((200, 1, 12, 12), dtype)
        noise = augmented(RandomErasing(1, scale=(0.3, 0.3)), images)
        values = noise[noise > 0] / white
        assert 0.45 < values.mean() < 0.55 and values.min() < 0.02 and values.max() > 0.98
        assert len(np.unique(values)) > 200


def test_a_rectangle_that_never_fits_leaves_the_image_alone() -> None:
    images = images_of(50)
    np.testing.assert_array_equal(augmented(RandomErasing(1, scale=(1, 1), ratio=(3, 3)), images), images)


@pytest.mark.parametrize("size", [1, 4, 5])
def test_cutout_blackens_a_square_about_any_pixel(size: int) -> None:
    images = images_of(500, (2, 6, 7))
    boxes = set()
    for image, result in zip(images, augmented(Cutout(size), images), strict=True):
        black = (result == 0).all(axis=0)
        np.testing.assert_array_equal(result, np.where(black, 0, image))
        boxes.add(box_of(black))
    expected = set()
    for i in range(6):
        for j in range(7):
            square = np.zeros((6, 7), bool)
            for row in range(i - size // 2, i - size // 2 + size):
                for column in range(j - size // 2, j - size // 2 + size):
                    if 0 <= row < 6 and 0 <= column < 7:
                        square[row, column] = True
            expected.add(box_of(square))
    assert boxes == expected


@pytest.mark.parametrize(("dtype", "tolerance"), [("uint8", 0.501), ("float64", 1e-6)])
def test_mixup_blends_images_as_it_blends_labels(dtype: str, tolerance: float) -> None:
    images, labels = images_of(10, dtype=dtype), np.arange(10)  # a label tells the image
    mixed, rows = MixUp(10, alpha=1.0)(images, labels, np.random.default_rng(1))
    assert rows.shape == (10, 10) and rows.dtype == np.float32
    assert np.count_nonzero(rows > 0) > 15
    for place in range(10):
        assert np.flatnonzero(rows[place]).tolist().count(place) == 1
        expected = sum(rows[place, other] * images[other].astype(float) for other in range(10))
        np.testing.assert_allclose(mixed[place], expected, rtol=0, atol=tolerance)
    np.testing.assert_allclose(rows.sum(axis=1), 1, rtol=1e-6)


def test_mixup_draws_shares_from_the_beta_distribution() -> None:
    images, labels = np.zeros((4000, 1, 1, 1), np.uint8), np.arange(4000) % 2
    for alpha in (0.2, 1.0):
        _, rows = MixUp(2, alpha)(images, labels, np.random.default_rng(0))
        of_pairs = rows[(rows > 0).all(axis=1)]
        assert of_pairs.mean() == pytest.approx(0.5, abs=0.02)
        variance = 1 / (4 * (2 * alpha + 1))  # of Beta(α, α)
        assert of_pairs[:, 0].var() == pytest.approx(variance, rel=0.1)


def test_mixup_blends_probabilities_again() -> None:
    images = images_of(6)
    once, rows = MixUp(10, 1.0)(images, labels_of(6), np.random.default_rng(0))
    _, twice = MixUp(10, 1.0)(once, rows, np.random.default_rng(1))
    np.testing.assert_allclose(twice.sum(axis=1), 1, rtol=1e-6)
    assert np.count_nonzero(twice) > np.count_nonzero(rows)


# --- what is refused ---


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: RandomShift(-1), ValueError, "RandomShift: pixels must be at least 0, not -1"),
        (lambda: RandomShift(1.5), TypeError, "RandomShift: pixels must be an integer, not 1.5"),
        (lambda: RandomShift(1, "white"), ValueError, "RandomShift: fill must be 'zero' or 'edge', not 'white'"),
        (lambda: RandomCrop(0), ValueError, "RandomCrop: size must be at least 1, not 0"),
        (lambda: RandomCrop((1, 2, 3)), ValueError, r"RandomCrop: size must be one integer or 2 of them"),
        (lambda: RandomCrop(3, padding=-1), ValueError, "RandomCrop: padding must be at least 0"),
        (lambda: RandomHorizontalFlip(1.1), ValueError, "RandomHorizontalFlip: p must be from 0 to 1, not 1.1"),
        (lambda: RandomHorizontalFlip("x"), TypeError, "RandomHorizontalFlip: p must be a number"),
        (lambda: RandomRotation(-3), ValueError, "RandomRotation: degrees must be a number in .0, 1e.06., not -3"),
        (lambda: RandomRotation(3, (1.2, 0.8)), ValueError, r"RandomRotation: scale must be a pair \(smallest"),
        (lambda: RandomRotation(3, (0.0, 0.8)), ValueError, r"RandomRotation: scale\[0\] must be a number above 0"),
        (lambda: RandomRotation(3, 1.5), TypeError, r"RandomRotation: scale must be a pair"),
        (
            lambda: RandomRotation(3, (1e-320,) * 2),
            ValueError,
            r"RandomRotation: scale\[0\] must be a number in .1e-06",
        ),
        (lambda: RandomRotation(3, (1.0, 1e308)), ValueError, r"RandomRotation: scale\[1\] must be a number in .1e-06"),
        (lambda: RandomErasing(2), ValueError, "RandomErasing: p must be from 0 to 1, not 2"),
        (lambda: RandomErasing(scale=(0.5, 1.5)), ValueError, r"RandomErasing: scale\[1\] must be from 0 to 1"),
        (
            lambda: RandomErasing(ratio=(1e-320, 1.0)),
            ValueError,
            r"RandomErasing: ratio\[0\] must be a number in .1e-06",
        ),
        (lambda: RandomErasing(fill="edge"), ValueError, "RandomErasing: fill must be 'random' or 'zero'"),
        (lambda: Cutout(0), ValueError, "Cutout: size must be at least 1, not 0"),
        (lambda: MixUp(0), ValueError, "MixUp: classes must be at least 1, not 0"),
        (lambda: MixUp(10, 0), ValueError, "MixUp: alpha must be a number above 0, not 0"),
        (lambda: MixUp(10, 1e308), ValueError, "MixUp: alpha must be a number in .0, 1e.06., not 1e.308"),
    ],
)
def test_settings_that_cannot_be(make: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make()


@pytest.mark.parametrize("step", EVERY, ids=repr)
def test_batches_of_another_kind(step: Any) -> None:
    generator, name = np.random.default_rng(0), type(step).__name__
    with pytest.raises(ValueError, match=rf"{name}: images must have 4 axes .*\(3, 7\)"):
        step(np.zeros((3, 7)), np.zeros(3, int), generator)
    with pytest.raises(TypeError, match=f"{name}: images must be uint8, float32 or float64, not int64"):
        step(np.zeros((3, 1, 7, 7), int), np.zeros(3, int), generator)
    with pytest.raises(ValueError, match=rf"{name}: labels must be one .*each of 3 images, not of shape \(3, 7, 7\)"):
        step(np.zeros((3, 1, 7, 7)), np.zeros((3, 7, 7), int), generator)


@pytest.mark.parametrize("step", EVERY, ids=repr)
@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"images": [[1, 2], [3]]}, ValueError, "images must be what NumPy can read"),
        ({"images": None}, ValueError, r"images must have 4 axes \(N, C, H, W\), not shape \(\)"),
        ({"images": np.zeros((3, 1, 0, 0))}, ValueError, r"images must have pixels, not shape \(3, 1, 0, 0\)"),
        ({"images": np.zeros((3, 1, 5, 0))}, ValueError, r"images must have pixels, not shape \(3, 1, 5, 0\)"),
        ({"images": np.zeros((3, 1, 7, 7), ">f4")[:2]}, ValueError, "labels must be one number or row for each of 2"),
        ({"labels": 3}, ValueError, "labels must be one number or row for each of 3 images, not of shape"),
        ({"labels": [0, 1]}, ValueError, "labels must be one number or row for each of 3 images, not of shape"),
    ],
)
def test_what_no_step_is_called_with(step: Any, changes: Any, error: type[Exception], message: str) -> None:
    arguments = {"images": images_of(3), "labels": labels_of(3)} | changes
    with pytest.raises(error, match=f"^{type(step).__name__}: {message}"):
        step(*arguments.values(), np.random.default_rng(0))


@pytest.mark.parametrize("step", EVERY, ids=repr)
@pytest.mark.parametrize("dtype", [np.float16, ">f2", bool, np.int8, complex])
def test_dtypes_of_which_no_image_is(step: Any, dtype: Any) -> None:
    came = np.dtype(dtype)
    with pytest.raises(TypeError, match=f"{type(step).__name__}: images must be uint8, float32 or float64, not {came}"):
        step(np.ones((3, 1, 7, 7), dtype), labels_of(3), np.random.default_rng(0))


@pytest.mark.skipif(np.dtype(np.longdouble) == np.float64, reason="there is no wider dtype here")
@pytest.mark.parametrize("step", EVERY, ids=repr)
def test_images_of_long_doubles_are_refused(step: Any) -> None:
    with pytest.raises(TypeError, match=f"{type(step).__name__}: images must be uint8, float32 or float64, not"):
        step(np.ones((3, 1, 7, 7), np.longdouble), labels_of(3), np.random.default_rng(0))


@pytest.mark.parametrize("step", EVERY, ids=repr)
@pytest.mark.parametrize("dtype", [">f4", ">f8", "<f4", "<f8"])
def test_byte_order_stays(step: Any, dtype: str) -> None:
    images = images_of(12, dtype="float32").astype(dtype)
    found = augmented(step, images)
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, augmented(step, images.astype(images.dtype.newbyteorder("="))))


@pytest.mark.parametrize(
    ("steps", "generator"),
    [
        (EVERY, None),
        (EVERY, 5),
        (EVERY, np.random.default_rng),
        (EVERY, "seed"),
        ([RandomShift(2), RandomCrop(6, padding=1), RandomErasing(), Cutout(3)], np.random.RandomState(0)),
    ],
    ids=["None", "number", "function", "text", "RandomState"],
)
def test_what_is_no_generator_is_named(steps: list[Any], generator: Any) -> None:
    for step in steps:
        message = f"^{type(step).__name__}: generator must be a numpy.random.Generator, not "
        with pytest.raises(TypeError, match=message):
            step(images_of(3), labels_of(3), generator)


@pytest.mark.parametrize("step", EVERY, ids=repr)
def test_lists_are_arrays(step: Any) -> None:
    images, labels = images_of(4, dtype="float64"), labels_of(4)
    expected = step(images, labels, np.random.default_rng(3))
    for found, array in zip(step(images.tolist(), labels.tolist(), np.random.default_rng(3)), expected, strict=True):
        assert isinstance(found, np.ndarray)
        np.testing.assert_array_equal(found, array)


def test_the_extremes_of_rotation_make_images() -> None:
    with np.errstate(all="raise", under="ignore"):
        for scale in (1e-6, 9.9e5):
            assert np.isfinite(augmented(RandomRotation(9.9e5, (scale, scale)), images_of(3, dtype="float32"))).all()


def test_the_largest_alpha_blends_halves() -> None:
    images = images_of(6, dtype="float32")
    step = MixUp(10, 9.9e5)
    _, rows = step(images, labels_of(6), np.random.default_rng(0))
    np.testing.assert_allclose(rows[rows > 0], np.where(rows[rows > 0] > 0.9, 1, 0.5), atol=0.01)


def test_labels_that_mixup_cannot_blend() -> None:
    images, generator = images_of(3), np.random.default_rng(0)
    with pytest.raises(ValueError, match="MixUp: labels must be 0 … 2 for 3 classes, not 1 … 3"):
        MixUp(3)(images, np.array([1, 2, 3]), generator)
    with pytest.raises(ValueError, match=r"MixUp: labels must be .* not float64 of shape \(3, 4\)"):
        MixUp(3)(images, np.zeros((3, 4)), generator)
    for value in (7.0, -0.1, np.nan):
        with pytest.raises(ValueError, match="MixUp: labels must be probabilities, from 0 to 1, and not NaN"):
            MixUp(3)(images, np.full((3, 3), value), generator)


def test_a_shift_or_crop_larger_than_the_image() -> None:
    with pytest.raises(ValueError, match=r"RandomShift: pixels is 8, more than images of shape \(3, 2, 7, 9\) have"):
        augmented(RandomShift(8), images_of(3))
    with pytest.raises(ValueError, match=r"RandomCrop: size \(8, 8\) is larger than images of 7 × 9 with 0 pixels"):
        augmented(RandomCrop(8), images_of(3))


# --- batches in the background ---

CHAIN = [RandomShift(1), RandomHorizontalFlip(), RandomErasing()]


def batches_of(count: int = 50, batch_size: int = 8, **options: Any) -> Batches:
    return Batches((images_of(count), labels_of(count)), batch_size, **options)


def alive() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("convkit-batches")]


def test_batches_are_the_chain_applied_to_the_plain_ones() -> None:
    plain, changed = batches_of(seed=3), batches_of(seed=3, augment=CHAIN)
    for number, ((x, y), (images, labels)) in enumerate(zip(plain.epoch(2), changed.epoch(2), strict=True)):
        philox = np.random.Philox(key=np.array([3, 2], np.uint64), counter=np.array([0, 0, number, 1], np.uint64))
        generator = np.random.Generator(philox)
        for step in CHAIN:
            x, y = step(x, y, generator)
        np.testing.assert_array_equal(images, x)
        np.testing.assert_array_equal(labels, y)


def test_seed_epoch_and_batch_decide() -> None:
    def epoch(number: int, **options: Any) -> list[bytes]:
        return [x.tobytes() for x, _ in batches_of(shuffle=False, augment=CHAIN, **options).epoch(number)]

    assert epoch(1, seed=4) == epoch(1, seed=4)
    assert not set(epoch(1, seed=4)) & {*epoch(2, seed=4), *epoch(1, seed=5), *epoch(4, seed=1)}
    same = np.broadcast_to(images_of(1), (32, 2, 7, 9))
    batches = [x.tobytes() for x, _ in Batches((same, labels_of(32)), 8, augment=CHAIN).epoch(0)]
    assert len(set(batches)) == 4


def test_the_thread_works_ahead_and_ends() -> None:
    made: list[str] = []

    def note(images: np.ndarray, labels: np.ndarray, generator: np.random.Generator) -> Any:
        made.append(threading.current_thread().name)
        return images, labels

    served = batches_of(augment=[note]).epoch(0)
    assert not alive() and not made  # nothing happens before a batch is asked for
    next(served)
    assert len(alive()) == 1
    next(served)
    assert len(list(served)) == 5
    assert len(made) == 7 and set(made) == {"convkit-batches_0"}
    assert not alive()


def test_an_epoch_left_early_ends_its_thread_after_few_batches() -> None:
    made = []

    def note(images: np.ndarray, labels: np.ndarray, generator: np.random.Generator) -> Any:
        made.append(len(images))
        return images, labels

    for _ in batches_of(count=800, augment=[note]).epoch(0):
        break
    assert not alive()
    assert len(made) <= 3


def test_an_error_reaches_whoever_asks_for_the_batch() -> None:
    def fail(images: np.ndarray, labels: np.ndarray, generator: np.random.Generator) -> Any:
        if 21 in labels:
            raise ZeroDivisionError("of all things")
        return images, labels

    served = Batches((images_of(50), np.arange(50)), 8, shuffle=False, augment=[fail]).epoch(0)
    assert len([next(served), next(served)]) == 2
    with pytest.raises(ZeroDivisionError, match="of all things"):
        next(served)
    assert not alive()


def test_without_augmentation_there_is_no_thread() -> None:
    served = batches_of().epoch(0)
    next(served)
    assert not alive()


def test_several_epochs_at_once_and_a_smaller_last_batch() -> None:
    batches = batches_of(augment=CHAIN)
    pairs = list(zip(batches.epoch(0), batches.epoch(0), strict=True))
    assert [len(x) for (x, _), _ in pairs] == [8] * 6 + [2]
    for (x, _), (other, _) in pairs:
        np.testing.assert_array_equal(x, other)


@pytest.mark.parametrize(
    ("augment", "error", "message"),
    [
        (RandomShift(2), TypeError, r"Batches: augment must be a sequence such as \[RandomShift\(2\)\], not RandomSh"),
        ("flip", TypeError, "Batches: augment must be a sequence .* not 'flip'"),
        ([RandomShift(2), 3], TypeError, r"Batches: augment\[1\] must be called as step\(images, .*, and 3 cannot"),
        ([RandomHorizontalFlip], TypeError, r"Batches: augment\[0\] must be called as"),
    ],
)
def test_chains_that_cannot_be(augment: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        batches_of(augment=augment)


@pytest.mark.parametrize(
    "returned", [None, np.zeros(8), (np.zeros((8, 1)), np.zeros(7)), (np.zeros(8), 3), (np.zeros(8),) * 3]
)
def test_a_step_that_returns_no_batch_is_named(returned: Any) -> None:
    def odd(images: np.ndarray, labels: np.ndarray, generator: np.random.Generator) -> Any:
        return returned

    with pytest.raises(ValueError, match=r"Batches: augment\[1\] \(.*odd\) must return 8 images and 8 labels"):
        next(batches_of(augment=[RandomShift(1), odd]).epoch(0))


def test_augmentation_needs_images_and_labels() -> None:
    with pytest.raises(ValueError, match=r"Batches: augment needs the pair \(images, labels\), not 1 arrays"):
        Batches((images_of(3),), augment=CHAIN)


def test_samples_of_a_data_set_are_augmented() -> None:
    sample = data.fashion_mnist("train", source="sample")[:32]
    [(x, y)] = Batches(sample, 32, shuffle=False, augment=[RandomHorizontalFlip(1)]).epoch(0)
    np.testing.assert_array_equal(x, sample.images[..., ::-1])
    np.testing.assert_array_equal(y, sample.labels)
