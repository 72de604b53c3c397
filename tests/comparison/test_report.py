"""From measurements to medians, verdicts, tables and a picture."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from benchmarks.compare.chart import draw
from benchmarks.compare.goals import GOALS, geometric_mean, verdicts
from benchmarks.compare.operations import operation_works
from benchmarks.compare.report import figure, goal_table, layer_tables, markdown, summarize
from benchmarks.compare.works import Work, full_works, import_work, network_works

FRAMEWORKS = {"convkit": "convkit", "Torch (a)": "Torch", "Torch (b)": "Torch", "Flow": "Flow"}


def work(title: str, family: str = "train", **details: Any) -> Work:
    return Work(title, family, "train", details, dict, steps=1)


def summary(title: str, family: str, ours: float, theirs: float, **details: Any) -> dict[str, Any]:
    return summarize(work(title, family, **details), {"convkit": [ours], "Torch (a)": [theirs]}, FRAMEWORKS)


def test_the_fastest_side_of_all_peers_counts() -> None:
    measured = {"convkit": [2.0, 1.0, 9.0], "Torch (a)": [7.0], "Torch (b)": [5.0], "Flow": [6.0]}
    found = summarize(work("train x"), measured, FRAMEWORKS)
    assert found["sides"]["convkit"]["median"] == 2.0
    assert found["sides"]["convkit"]["quartiles"] == [1.5, 5.5]
    assert found["best"] == {"convkit": "convkit", "Torch": "Torch (b)", "Flow": "Flow"}
    assert found["fastest_peer"] == "Torch (b)"
    assert found["ratio"] == 2.5


@pytest.mark.parametrize("alone", ("convkit", "Flow"))
def test_one_framework_alone_has_no_ratio(alone: str) -> None:
    assert summarize(work("train x"), {alone: [1.0]}, FRAMEWORKS)["ratio"] is None


def test_geometric_mean_lets_twice_and_half_cancel_out() -> None:
    assert geometric_mean([2.0, 0.5, 1.0]) == pytest.approx(1.0)


# --- goals --------------------------------------------------------------------------------------------------


def test_every_goal_is_about_some_work() -> None:
    works = [work(one.title, one.family) for one in (*network_works(), *full_works(), *operation_works())]
    summaries = [summarize(one, {"convkit": [1.0], "Flow": [1.0]}, FRAMEWORKS) for one in works]
    assert [goal.title for goal in GOALS] == [verdict.goal for verdict in verdicts(summaries)]


def test_every_operation_is_judged() -> None:
    for one in operation_works():
        found = summary(one.title, one.family, 1, 1)
        assert any(goal.is_about(found) for goal in GOALS), one.title


def test_titles_are_unique() -> None:
    titles = [one.title for one in (*network_works(), *full_works(), import_work(), *operation_works())]
    assert len(titles) == len(set(titles))


@pytest.mark.parametrize(("theirs", "reached"), ((2.9, False), (3.0, True)))
def test_a_step_is_held_against_its_bar(theirs: float, reached: bool) -> None:
    [verdict] = verdicts([summary("train lenet5 b64", "train", 1, theirs)])
    assert verdict.reached is reached and verdict.bar == "3 ×"


def test_layers_are_judged_by_their_mean_and_by_the_lowest() -> None:
    layers = [summary("conv_forward a b1", "conv", 1, 4), summary("conv_forward b b1", "conv", 1, 0.5)]
    mean, lowest = verdicts(layers)
    assert mean.ratio == pytest.approx(2**0.5) and mean.reached
    assert lowest.ratio == 0.5 and not lowest.reached and lowest.summary is layers[1]


@pytest.mark.parametrize(("ours", "reached"), ((130.0, True), (131.0, False)))
def test_the_import_may_take_some_milliseconds_more_than_that_of_numpy(ours: float, reached: bool) -> None:
    frameworks = {"convkit": "convkit", "NumPy": "NumPy"}
    [verdict] = verdicts([summarize(import_work(), {"convkit": [ours], "NumPy": [100.0]}, frameworks)])
    assert verdict.reached is reached and verdict.bar == "NumPy's + 30 ms"


# --- tables and picture -------------------------------------------------------------------------------------


def report_of(*summaries: dict[str, Any]) -> dict[str, Any]:
    return {
        "machine": {"processor": "Abacus", "load": 0.1, "date": "2020-01-01T00:00:00"},
        "threads": 2,
        "versions": {"Torch": {"Torch": "1.0"}},
        "left_out": {"Flow": "no environment"},
        "failures": ["train y: it ended"],
        "works": list(summaries),
    }


def test_the_goal_table_says_what_falls_short() -> None:
    works = [summary("relu a", "operation", 2, 1), summary("relu_grad a", "operation", 1, 3)]
    assert goal_table(verdicts(works)).splitlines()[2:] == [
        "| ReLU and its gradient (2 works; lowest: relu a) | 2 ms | 1 ms, Torch (a) | 0.50 × | 1 × | falls short |"
    ]


def test_the_report_names_peers_left_out_and_works_that_failed() -> None:
    text = markdown(report_of(summary("train lenet5 b64", "train", 1, 4)), [])
    for part in ("Abacus, threads: 2", "Torch (Torch 1.0)", "Left out: Flow: no environment", "Failed: train y"):
        assert part in text
    assert "| train lenet5 b64 | 1 ms | 4 ms |" in text
    assert "## Single layers" not in text and "## Operations" not in text


def test_layer_tables_average_over_each_network_and_name_the_worst() -> None:
    layers = [
        summary(f"conv_forward {name} b1", "conv", 1, ratio, op="conv_forward", networks=networks, flops=10**6)
        for name, ratio, networks in (("x.1", 1, ["x", "y"]), ("x.2", 4, ["x"]), ("y.1", 0.25, ["y"]))
    ]
    lines = layer_tables(layers).splitlines()
    assert "| network | conv_forward b1 |" in lines
    assert "| `x` | 2.00 |" in lines
    assert "| `y` | 0.50 |" in lines
    assert lines[-3].startswith("| conv_forward y.1 b1 | 1 | 1 |")


@pytest.mark.parametrize(("value", "text"), ((0.01234, "0.0123"), (12.34, "12.3"), (1234.5, "1234")))
def test_figures_have_three_digits_and_no_exponent(value: float, text: str) -> None:
    assert figure(value) == text


def test_draws_a_picture(tmp_path: Path) -> None:
    works = [summary(f"{family} x", family, 1, 2) for family in ("train", "epoch", "infer", "infer", "memory")]
    draw(report_of(*works), tmp_path / "chart.png")
    assert (tmp_path / "chart.png").read_bytes().startswith(b"\x89PNG")


def test_says_what_the_picture_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r'drawing the comparison needs matplotlib: pip install "convkit\[plot\]"'):
        draw(report_of(), tmp_path / "chart.png")
