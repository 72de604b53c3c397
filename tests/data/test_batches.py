"""Batches: every sample once in an epoch, in an order that only seed and epoch decide."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from convkit.data import Batches, Dataset


def pair(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Inputs that can be told from their labels: x[i] is filled with i, y[i] is i."""
    y = np.arange(count)
    return np.broadcast_to(y[:, None, None], (count, 2, 3)).astype(np.float32), y


def labels_of(batches: Batches, epoch: int) -> list[int]:
    return [int(label) for _, labels in batches.epoch(epoch) for label in labels]


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize(("count", "batch_size"), [(10, 3), (9, 3), (1, 5), (5, 5), (7, 1)])
def test_serves_every_sample_once_with_its_label(count: int, batch_size: int, shuffle: bool) -> None:
    batches = Batches(pair(count), batch_size, shuffle=shuffle)
    served = list(batches.epoch(0))
    full, rest = divmod(count, batch_size)
    assert [len(y) for _, y in served] == [batch_size] * full + [rest] * (rest > 0)
    assert len(batches) == len(served)
    assert sorted(labels_of(batches, 0)) == list(range(count))
    for x, y in served:
        assert x.shape == (len(y), 2, 3)
        np.testing.assert_array_equal(x[:, 1, 2], y)


def test_drop_last_leaves_out_the_smaller_batch() -> None:
    batches = Batches(pair(10), 4, drop_last=True)
    assert [len(y) for _, y in batches.epoch(0)] == [4, 4]
    assert len(batches) == 2
    assert len(Batches(pair(8), 4, drop_last=True)) == 2


def test_order_without_shuffling() -> None:
    batches = Batches(pair(10), 4, shuffle=False)
    assert labels_of(batches, 0) == labels_of(batches, 7) == list(range(10))


def test_order_depends_on_seed_and_epoch_only() -> None:
    batches = Batches(pair(100), 8, seed=5)
    later = labels_of(batches, 3)
    assert labels_of(batches, 0) != later
    assert labels_of(batches, 3) == later  # again, and after another epoch
    assert labels_of(Batches(pair(100), 32, seed=5), 3) == later  # whatever the batch size
    assert labels_of(Batches(pair(100), 8, seed=6), 3) != later
    assert labels_of(Batches(pair(100), 8, seed=3), 5) != later  # seed and epoch do not change places


def test_order_is_this_one_for_good() -> None:
    """A checkpoint resumed with a later version must find the same order."""
    assert Batches(pair(10), seed=1).order(2).tolist() == [4, 2, 0, 6, 1, 5, 9, 8, 7, 3]
    large = Batches(pair(10), seed=2**64 - 1).order(2**64 - 1)
    assert sorted(large.tolist()) == list(range(10))


def test_orders_are_uniform() -> None:
    """Over many epochs each sample comes to each place about equally often."""
    batches = Batches(pair(6), seed=11)
    counts = np.zeros((6, 6))
    for epoch in range(1200):
        counts[np.arange(6), batches.order(epoch)] += 1
    chi_squared = ((counts - 200) ** 2 / 200).sum()
    assert chi_squared < 25 + 6 * np.sqrt(2 * 25)  # 25 degrees of freedom


def test_epochs_interleave() -> None:
    batches = Batches(pair(20), 4)
    first, second = batches.epoch(0), batches.epoch(1)
    in_turn = [(y0, y1) for (_, y0), (_, y1) in zip(first, second, strict=True)]
    assert np.concatenate([y0 for y0, _ in in_turn]).tolist() == labels_of(batches, 0)
    assert np.concatenate([y1 for _, y1 in in_turn]).tolist() == labels_of(batches, 1)


def test_takes_a_dataset() -> None:
    images = np.random.default_rng(0).integers(0, 256, (10, 1, 4, 4), dtype=np.uint8)
    dataset = Dataset(images, np.arange(10) % 2, classes=["even", "odd"])
    for x, y in Batches(dataset, 3).epoch(0):
        assert x.dtype == np.uint8
        assert y.dtype == np.int64
    x = np.concatenate([x for x, _ in Batches(dataset, 3, seed=4).epoch(1)])
    np.testing.assert_array_equal(x, images[Batches(dataset, 3, seed=4).order(1)])


def test_takes_any_arrays() -> None:
    base = np.arange(48, dtype=">f8").reshape(6, 8)
    base.setflags(write=False)
    data = (base[:, ::-2], [[1.0], [2.0], [3.0], [4.0], [5.0], [6.0]], np.arange(6)[::-1])
    served = list(Batches(data, 4, shuffle=False).epoch(0))
    for place, array in enumerate(data):
        np.testing.assert_array_equal(np.concatenate([batch[place] for batch in served]), array)


@pytest.mark.parametrize("shuffle", [True, False])
def test_batches_are_the_callers_own(shuffle: bool) -> None:
    x, y = pair(6)
    served = list(Batches((x, y), 2, shuffle=shuffle).epoch(0))
    for batch in served:
        for array in batch:
            array += 100
    np.testing.assert_array_equal(x, pair(6)[0])
    np.testing.assert_array_equal(y, pair(6)[1])


def test_defaults() -> None:
    batches = Batches(pair(3))
    assert (batches.batch_size, batches.shuffle, batches.seed, batches.drop_last) == (64, True, 0, False)


@pytest.mark.parametrize(
    ("data", "options", "error", "message"),
    [
        (np.zeros((3, 2)), {}, TypeError, r"a Dataset or a tuple of arrays \(x, y\), not ndarray"),
        ([[1, 2], [3, 4]], {}, TypeError, "not list"),
        ((), {}, TypeError, "not tuple"),
        ((np.zeros(3), None), {}, TypeError, r"data\[1\] must be an array .* dtype object"),
        ((np.zeros(3), 5), {}, TypeError, r"data\[1\] must be an array .* shape \(\)"),
        ((np.zeros(3), np.zeros(4)), {}, ValueError, "equally many samples, but hold 3, 4"),
        ((np.zeros(0), np.zeros(0)), {}, ValueError, "at least 1 samples, not 0"),
        (pair(3), {"batch_size": 4, "drop_last": True}, ValueError, "at least 4 samples, not 3"),
        (pair(3), {"batch_size": 0}, ValueError, "batch_size must be at least 1, not 0"),
        (pair(3), {"batch_size": 2.0}, TypeError, "batch_size must be an integer, not 2.0"),
        (pair(3), {"seed": -1}, ValueError, "seed must be at least 0, not -1"),
        (pair(3), {"seed": 2**64}, ValueError, "seed must be at most"),
        (pair(3), {"seed": None}, TypeError, "seed must be an integer, not None"),
        (pair(3), {"shuffle": "no"}, TypeError, "shuffle must be True or False, not 'no'"),
        (pair(3), {"shuffle": None}, TypeError, "shuffle must be True or False, not None"),
        (pair(3), {"drop_last": "no"}, TypeError, "drop_last must be True or False, not 'no'"),
    ],
)
def test_what_cannot_be_batched_is_refused(
    data: Any, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=f"Batches: .*{message}"):
        Batches(data, **options)


def test_bad_epoch_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="Batches: epoch must be at least 0, not -1"):
        Batches(pair(3)).epoch(-1)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_an_epoch_goes_on_in_a_forked_process(run_apart: Callable[..., None]) -> None:
    """With the batches that the parent gets, whatever its thread does at that moment."""
    run_apart(
        """
        import os, signal, sys
        import numpy as np
        from convkit.data import Batches, RandomShift
        images = np.random.default_rng(0).integers(0, 256, (11, 1, 8, 8), dtype=np.uint8)
        batches = Batches((images, np.arange(11)), 2, augment=[RandomShift(1)])
        whole = list(batches.epoch(0))
        def same(served, first):
            return len(served) == len(whole) - first and all(
                np.array_equal(a, b) for one, two in zip(served, whole[first:]) for a, b in zip(one, two))
        for taken in range(len(whole) + 1):
            epoch = batches.epoch(0)
            for _ in range(taken):
                next(epoch)
            child = os.fork()
            if child == 0:
                signal.alarm(20)  # ends a child that hangs
                if taken == 3:
                    epoch.close()  # which waits for nobody, too
                    os._exit(0)
                os._exit(0 if same(list(epoch), taken) else 1)
            print(taken, flush=True)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
            assert same(list(epoch), taken)
        """,
        seconds=60,
    )
