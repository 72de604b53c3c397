"""Some random graphs, and faults planted in plans that the fuzzer must notice; `fuzz_graphs` tells more."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest

import fuzz_graphs
from convkit.graph import fold, plan
from convkit.graph.symbols import Graph
from convkit.ops.shape import Reshape

pytestmark = pytest.mark.usefixtures("threaded")

PROGRAMS = 30


def test_plans_compute_what_was_recorded(capsys: pytest.CaptureFixture[str]) -> None:
    counts = fuzz_graphs.run(0, programs=PROGRAMS)
    assert not counts["defects"], capsys.readouterr().out
    assert counts["programs"] == PROGRAMS
    assert counts["plans"] > 5 * PROGRAMS
    assert counts["stretches"] > 3 * PROGRAMS


def found_in(lines: list[str], channels: int = 4) -> list[str]:
    """What is wrong with a program that begins with 60 images, which leave lanes of a block of theirs empty."""
    rng = np.random.default_rng(0)
    shapes = {"p0": (channels, 3, 3, 3), "p1": (channels,), "b0": (channels,), "b1": (channels,)}
    owned = {name: rng.uniform(0.5, 1, shape).astype("f4") for name, shape in shapes.items()}
    images = rng.standard_normal((60, 3, 4, 4)).astype("f4")
    last = lines[-1].split(" = ")[0]
    return fuzz_graphs.examine(fuzz_graphs.Program({"x0": images}, owned, lines, [last]), rng, Counter())


def test_a_race_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of as many groups as there are blocks of images, a thread's share holds other threads' images."""
    lines = ["v0 = F.conv2d(x0, p0, p1, padding=1)", "v1 = F.reshape(v0, (4, 6, 10, 16))", "v2 = F.tanh(v1)"]
    assert not found_in(lines)
    monkeypatch.setattr(Reshape, "by_image", lambda self, *inputs: (0,))
    found = found_in(lines)
    assert any(what.startswith("inference, 2 threads: ") and "writes what" in what for what in found), found


def test_a_wrong_rewriting_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Normalisation folded into weights before the γ is there that it reads."""

    def fold_too_early(graph: Graph, wanted: Any) -> None:
        fold.fold(graph, wanted)
        graph.nodes.sort(key=lambda node: not isinstance(node.op, fold.FoldedWeights))

    norm = "v2 = F.batch_norm(v0, b0, b1, v1, None, training)"
    lines = ["v0 = F.conv2d(x0, p0, p1, padding=1)", "v1 = F.add(p1, 1.0)", norm]
    assert not found_in(lines)
    monkeypatch.setattr(plan, "fold", fold_too_early)
    assert "inference: off the functions by inf" in found_in(lines)
