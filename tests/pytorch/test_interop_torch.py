"""PyTorch's tensors are arrays, its state_dicts load, and weights move both ways, with the same accuracy."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from moved_networks import full_data
from peer import Peer, example, fits

SCRIPT = Path(__file__).with_name("torch_interop.py")


@pytest.fixture(scope="module")
def there(request: pytest.FixtureRequest) -> Iterator[Peer]:
    """A process with PyTorch and convkit."""
    python = request.config.getoption("--torch-python", None) or os.environ.get("CONVKIT_TORCH_PYTHON")
    if not python:
        pytest.skip("no environment with PyTorch: set CONVKIT_TORCH_PYTHON")
    if not fits(python):
        pytest.skip(f"{python} is another version of Python, for which convkit is not built")
    peer = Peer(python, SCRIPT)
    yield peer
    peer.close()


def assert_match(messages: list[str], patterns: list[str]) -> None:
    for message, pattern in zip(messages, patterns, strict=True):
        assert re.search(pattern, message), message


def test_tensors_are_arrays(there: Any) -> None:
    there("tensors_are_arrays")


def test_a_data_loader_trains(there: Any) -> None:
    there("a_data_loader_trains")


def test_tensors_that_numpy_cannot_view_are_refused(there: Any) -> None:
    start = "^TypeError: relu: x must be "
    assert_match(
        there("refused_tensors"),
        [
            start + r"what NumPy can read, but this Tensor is not: .*requires grad.*detach\(\)",
            start + "what NumPy can read, but this Tensor is not: .*[Ss]parse",
            start + "what NumPy can read, but this Tensor is not: .*meta",
            start + "what NumPy can read, but this Tensor is not: .*BFloat16",
            start + "a float32 or float64 array, not float16",
            start + "a float32 or float64 array, not int64",
        ],
    )


@pytest.mark.parametrize("by_order", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
def test_files_of_torch_load(dtype: str, by_order: bool, there: Any, tmp_path: Path) -> None:
    assert there("files_load", folder=str(tmp_path), dtype=dtype, by_order=by_order) < 1e-5


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
@pytest.mark.parametrize("match", ["name", "order"])
def test_weights_move_both_ways(match: str, dtype: str, there: Any) -> None:
    there("weights_move_both_ways", match=match, dtype=dtype)


def test_what_does_not_fit_is_refused_whole(there: Any) -> None:
    wrong = r"fc2.weight must have shape \(10, 32\), not \(11, 32\), fc2.bias must have shape \(10,\), not \(11,\)$"
    assert_match(
        there("moving_is_refused_whole"),
        [
            f"^ValueError: from_torch: {wrong}",
            r"^ValueError: to_torch: fc2.weight must have shape",
            r"from_torch: fc2 has weight \(11, 32\), bias \(11,\) where fc2 has weight \(10, 32\), bias \(10,\)$",
            r"to_torch: state lacks conv1.weight \(8, 1, 5, 5\), .* and 8 more; .*match='order' goes by these$",
            "^TypeError: from_torch: weight must be what NumPy can read, but this Tensor is not: .*[Ss]parse",
            "^TypeError: from_torch: module must be a torch Module, not moved_networks.Net$",
            "^TypeError: from_torch: module must be a torch Module, not collections.OrderedDict$",
            "^TypeError: to_torch: model must be a convkit Module, not TorchNet$",
        ],
    )


def test_a_graph_of_torch_notices_that_its_weights_changed(there: Any) -> None:
    assert "modified by an inplace operation" in there("a_graph_of_pytorch_notices")


@pytest.mark.parametrize("source", ["sample", pytest.param("", id="full", marks=pytest.mark.slow)])
def test_accuracy_is_the_same_there_and_here(source: str, there: Any) -> None:
    source = source or full_data() or pytest.skip("no Fashion-MNIST on this machine")
    accuracies = there("trained_there_and_here", source=source)
    print(accuracies)
    assert accuracies["there"] == accuracies["here"]
    assert accuracies["trained on here"] == accuracies["back there"]
    assert accuracies["here"] != accuracies["back there"] and min(accuracies.values()) > 0.6


def test_the_example_on_the_page_runs(there: Any) -> None:
    page = Path(__file__).parents[2] / "docs" / "interop.md"
    there("run", code=example(page, "from_torch"))
