"""Threads: the same bits for any number of them, in any Python thread, and after a fork."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import convkit as ck
from convkit import functional as F
from geometries import normal
from interpreter import SANITIZED


def work() -> list[Any]:
    """Calls large enough to be shared out among threads."""
    rng = np.random.default_rng(11)
    x, weight = normal(rng, (13, 6, 29, 31), np.float32), normal(rng, (17, 6, 5, 3), np.float32)
    y = F.conv2d(x, weight, padding="same")
    grad = normal(rng, y.shape, np.float32)
    tall, few = normal(rng, (1, 8, 64, 24), np.float32), normal(rng, (16, 8, 5, 5), np.float32)
    rows, dense = normal(rng, (70, 900), np.float32), normal(rng, (130, 900), np.float32)
    results = [y, *F.conv2d_backward(grad, x, weight, padding="same"), F.conv2d(tall, few)]
    results += F.conv_transpose2d_backward(x, y, weight, 1, (2, 1))
    results += [F.conv_transpose2d(y, weight, padding=(2, 1)), F.im2col(x, 3), F.tanh(x), F.softmax(rows, 1)]
    results += [F.col2im(F.im2col(x, 3, 2), (29, 31), 3, 2), F.avg_pool2d(x, 3, 2, 1), F.linear(rows, dense)]
    results += F.max_pool2d(x, 3, 2, 1, return_indices=True)
    results.append(F.max_pool2d_backward(F.max_pool2d(x, 3, 2, 1), x, 3, 2, 1))
    results += F.linear_backward(F.linear(rows, dense), rows, dense)
    results += [F.batch_norm(x, None, None, training=True), F.batch_norm(rows, None, None, training=True)]
    results += F.batch_norm_backward(grad, y, None, None, training=True)
    results += F.batch_norm_backward(rows, rows, None, None, training=True)
    results += [F.group_norm(x, 2), F.local_response_norm(x, 3), F.local_response_norm_backward(x, x, 3)]
    results.append(F.cross_entropy(rows, np.arange(70)))
    results.append(F.cross_entropy_backward(rows, np.arange(70)))
    return results


def bits(results: list[Any]) -> list[bytes]:
    return [np.asarray(result).tobytes() for result in results]


@pytest.mark.usefixtures("threaded")
def test_any_number_of_threads_gives_the_same_bits() -> None:
    ck.set_num_threads(1)
    alone = bits(work())
    for count in (2, 3, 7, 2):
        ck.set_num_threads(count)
        assert bits(work()) == alone, f"{count} threads"


@pytest.mark.usefixtures("threaded")
def test_python_threads_do_not_disturb_each_other() -> None:
    """Scratch memory belongs to a thread: calls of different sizes run side by side."""
    ck.set_num_threads(2)
    expected = bits(work())
    small = bits([F.conv2d(np.ones((2, 3, 9, 9)), np.ones((4, 3, 3, 3)))])
    outcomes: list[bool] = []

    def repeat() -> None:
        for _ in range(3):
            outcomes.append(bits(work()) == expected)
            outcomes.append(bits([F.conv2d(np.ones((2, 3, 9, 9)), np.ones((4, 3, 3, 3)))]) == small)

    workers = [threading.Thread(target=repeat) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
    assert len(outcomes) == 4 * 6 and all(outcomes)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.parametrize("start_a_team_first", [True, False])
def test_a_forked_child_computes(start_a_team_first: bool, run_apart: Callable[..., None]) -> None:
    """libgomp deadlocks in a child whose parent had started its threads; the library must go serial there."""
    run_apart(
        f"""
        import os, signal, sys
        import numpy as np
        import convkit as ck
        from convkit import functional as F
        ck.set_num_threads(2)
        x, w = np.ones((16, 8, 40, 40), np.float32), np.ones((16, 8, 3, 3), np.float32)
        expected = F.conv2d(x, w).tobytes() if {start_a_team_first} else None
        child = os.fork()
        if child == 0:
            signal.alarm(60)  # ends the child with status -14
            result = F.conv2d(x, w)
            ck.set_num_threads(2)
            again = F.conv2d_backward(result, x, w)[0]
            os._exit(0 if expected in (None, result.tobytes()) and np.isfinite(again).all() else 3)
        _, status = os.waitpid(child, 0)
        assert F.conv2d(x, w).shape == (16, 16, 38, 38)
        sys.exit(os.waitstatus_to_exitcode(status))
        """
    )


@pytest.mark.skipif(SANITIZED, reason="a sanitizer's frames are larger")
def test_threads_with_little_stack_compute(run_apart: Callable[..., None]) -> None:
    run_apart(
        """
        import threading
        import numpy as np
        from convkit import functional as F

        def compute():
            for dtype in ("f4", "f8"):
                x, weight = np.ones((4, 64, 20, 20), dtype), np.ones((64, 64, 3, 3), dtype)
                F.conv2d_backward(F.conv2d(x, weight, padding=1), x, weight, padding=1)
            done.append(True)

        done = []
        threading.stack_size(64 * 1024)
        thread = threading.Thread(target=compute)
        thread.start()
        thread.join()
        assert done
        """
    )


@pytest.mark.parametrize("count", [0, -1, 1.5, "2", True])
def test_impossible_thread_counts_are_refused(count: Any) -> None:
    with pytest.raises((ValueError, TypeError), match="set_num_threads: n must be"):
        ck.set_num_threads(count)
