"""What the benchmarks share: measuring a call and noting its rate."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

Measure = Callable[..., Any]


@pytest.fixture
def measure(benchmark: BenchmarkFixture) -> Measure:
    """Measure a call: ``measure(function, *arguments, flops=…, moved=…)``.

    With the median time, the arithmetic gives "GFLOP/s" and the bytes moved give "GB/s", in the extra
    information that pytest-benchmark saves beside its figures.
    """

    def run(function: Callable[..., Any], *arguments: Any, flops: int = 0, moved: int = 0) -> Any:
        result = benchmark(function, *arguments)
        if benchmark.stats is not None:  # there are none under --benchmark-disable
            median = benchmark.stats.stats.median
            for unit, amount in (("GFLOP/s", flops), ("GB/s", moved)):
                if amount:
                    benchmark.extra_info[unit] = round(amount / median / 1e9, 2)
        return result

    return run
