"""The reference in docs/api names everything that is public, so that nothing new is left out of it."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest

import convkit as ck
from convkit import data, functional, interop, models, nn, onnx, optim, plot, sklearn, train

PAGES = Path(__file__).parents[1] / "docs" / "api"
ELSEWHERE = {
    ck: {"functional", "nn", "optim", "data", "models", "plot", "__version__"},  # modules have pages of their own
    nn: {"init", "Parameter", "Buffer"},
    models: {"REGISTRY"},
    train: {"Trainer", "save", "load", "load_model"},
}


MODULES = [ck, functional, nn, optim, data, models, train, plot, onnx, interop.torch, interop.keras, sklearn]


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_every_public_name_is_on_the_page_of_its_module(module: ModuleType) -> None:
    page = PAGES / f"{module.__name__.removeprefix('convkit.').partition('.')[0]}.rst"
    listed = {line.strip() for line in page.read_text("utf-8").splitlines() if line.startswith("   ")}
    assert set(module.__all__) - ELSEWHERE.get(module, set()) - listed == set()
