"""`convkit bench`, and the ceilings that it measures."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

import convkit as ck
from convkit._kernels import ceiling, core
from convkit.cli import benchmark, main
from convkit.models import REGISTRY

# Arithmetic of one image's training step: two for each use of each weight, three passes, none to the image.
TRAINING_FLOPS = {"fashion_cnn_small": 2_634_600, "lenet5": 2_263_920, "fashion_cnn_large": 52_853_760}


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Measure so little that it takes no time."""
    for name, value in (("BATCH", 2), ("PEAK_ROUNDS", 1000), ("STREAM_VALUES", 5000), ("NETWORKS", ("lenet5",))):
        monkeypatch.setattr(benchmark, name, value)
    before = ck.get_num_threads()
    yield
    ck.set_num_threads(before)


def test_prints_a_rate_and_a_share_for_every_kernel_and_step(tiny: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--seconds", "1e-9", "--threads", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for start in ("multiply and add, GFLOP/s", "memory, GB/s", "conv 10×12×12", "max pool", "relu", "lenet5"):
        assert any(line.startswith(start) for line in lines), start
    rates = [line for line in lines if line.endswith("%")]
    assert len(rates) == 9 + 5 + 1
    assert all("GFLOP/s" in line or "GB/s" in line for line in rates)


def test_the_file_holds_what_was_measured(tiny: None, tmp_path: Path) -> None:
    target = tmp_path / "bench.json"
    assert main(["bench", "--seconds", "1e-9", "--threads", "2", "--json", str(target)]) == 0
    report = json.loads(target.read_text())
    assert report["threads"] == 2 and report["instructions"] == core.isa_chosen()
    assert [found["threads"] for found in report["ceilings"]] == [1, 2]
    top = report["ceilings"][-1]
    for one in report["kernels"] + report["training_steps"]:
        most = top["gflops"] if one["unit"] == "GFLOP/s" else top["gigabytes"]
        assert one["share"] == pytest.approx(one["rate"] / most)
    [step] = report["training_steps"]
    assert step["rate"] * step["milliseconds"] == pytest.approx(2 * TRAINING_FLOPS["lenet5"] / 1e6)


def test_measuring_leaves_the_number_of_threads_alone(tiny: None) -> None:
    ck.set_num_threads(2)
    assert main(["bench", "--seconds", "1e-9"]) == 0
    assert ck.get_num_threads() == 2


@pytest.mark.parametrize("seconds", ("0", "-1", "inf", "soon"))
def test_refuses_seconds_that_are_none(seconds: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ending:
        main(["bench", f"--seconds={seconds}"])
    assert ending.value.code == 2
    assert capsys.readouterr().err == f"convkit bench: argument --seconds: must be a number above 0, not '{seconds}'\n"


@pytest.mark.parametrize("network", TRAINING_FLOPS)
def test_counts_the_arithmetic_of_a_training_step(network: str) -> None:
    entry = REGISTRY[network]
    assert benchmark.training_flops(entry.build(), entry.input_shape) == benchmark.BATCH * TRAINING_FLOPS[network]


# --- the ceilings -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", (1, 15, 16, 16384, 40_001))
def test_triad_is_a_sum_and_a_product(n: int) -> None:
    a, b = np.random.default_rng(n).standard_normal((2, n), np.float32)
    y = np.full(n, np.nan, np.float32)
    ceiling.Triad(a, b, y, 0.5).run()
    np.testing.assert_array_equal(y, a + np.float32(0.5) * b)  # exact: half of a float32 is one


@pytest.mark.parametrize("threads", (1, 2))
def test_peak_counts_every_operation_on_every_thread(threads: int) -> None:
    before = ck.get_num_threads()
    ck.set_num_threads(threads)
    lanes = {"baseline": 4, "avx2": 8, "avx512": 16}[core.isa_chosen()]
    try:
        assert ceiling.peak(10) == threads * 10 * 12 * 2 * lanes
    finally:
        ck.set_num_threads(before)


@pytest.mark.parametrize("level", core.isa_available())
def test_every_instruction_set_has_its_ceiling(
    level: str, run_apart: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONVKIT_ISA", level)
    run_apart("""
        import numpy as np
        from convkit._kernels import ceiling

        a, b, y = np.ones((3, 1001), np.float32)
        ceiling.Triad(a, b, y, 2.0).run()
        assert (y == 3).all()
        assert ceiling.peak(5) > 0
    """)
