"""The samples in the package: real, balanced, and exactly what their README says."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

import numpy as np
import pytest

from convkit.data import DataNotFound, Dataset, load, read_idx
from convkit.data.collection import Split
from convkit.data.idx import encode_idx
from convkit.data.sources import COLLECTIONS, SAMPLE_FOLDER, SYSTEM_FOLDER, VARIABLE

EACH: dict[Split, int] = {"train": 600, "test": 100}
SAMPLED = [name for name, collection in COLLECTIONS.items() if collection.sampled]
SAMPLES = [(name, split) for name in SAMPLED for split in EACH]


def full_set(name: str, split: Split) -> Dataset:
    """The published set, where this machine has it without a download."""
    for folder in (os.environ.get(VARIABLE), SYSTEM_FOLDER):
        if folder:
            try:
                return COLLECTIONS[name].read(Path(folder), split, published_only=True)
            except DataNotFound:
                continue
    pytest.skip(f"no {name} on this machine; {VARIABLE} may name the folder that holds it")


@pytest.mark.parametrize(("name", "split"), SAMPLES)
def test_is_balanced_and_whole(name: str, split: Split) -> None:
    sample, _ = load(name, split, "sample")
    count = 10 * EACH[split]
    assert sample.images.shape == (count, 1, 28, 28)
    assert sample.images.dtype == np.uint8
    assert sample.labels.dtype == np.int64
    assert np.bincount(sample.labels).tolist() == [EACH[split]] * 10
    assert len(sample.classes) == 10
    assert (sample.name, sample.split) == (name, split)
    assert len(np.unique(sample.images.reshape(count, -1), axis=0)) == count


@pytest.mark.parametrize("name", SAMPLED)
def test_training_and_test_samples_are_disjoint(name: str) -> None:
    train, test = (set(map(bytes, load(name, split, "sample")[0].images)) for split in EACH)
    assert not train & test


def test_checksums_are_those_of_the_readme() -> None:
    listed = re.findall(r"^([0-9a-f]{64})  (\S+)$", (SAMPLE_FOLDER / "README.md").read_text("utf-8"), re.M)
    found = [
        (
            hashlib.sha256(encode_idx(read_idx(path))).hexdigest(),
            path.relative_to(SAMPLE_FOLDER).with_suffix(""),
        )
        for path in sorted(SAMPLE_FOLDER.glob("*/*.xz"))
    ]
    assert len(found) == 8
    assert listed == [(checksum, name.as_posix()) for checksum, name in found]


def test_is_small() -> None:
    assert sum(path.stat().st_size for path in SAMPLE_FOLDER.rglob("*.xz")) < 3_700_000


@pytest.mark.parametrize(("name", "split"), SAMPLES)
def test_is_the_first_of_each_class_in_file_order(name: str, split: Split) -> None:
    full = full_set(name, split)
    taken = np.zeros(10, dtype=int)
    chosen = []
    for place, label in enumerate(full.labels):
        if taken[label] < EACH[split]:
            taken[label] += 1
            chosen.append(place)
    sample, _ = load(name, split, "sample")
    np.testing.assert_array_equal(sample.images, full.images[chosen])
    np.testing.assert_array_equal(sample.labels, full.labels[chosen])
