"""When memory runs out there is a MemoryError, and the process goes on: whatever allocation it was that failed.

A process limits its own address space, a bit more each time, runs something that needs more than that, and then, with
the limit lifted, runs it again: the results must be those of a process that never knew a limit.
"""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from interpreter import FREE_THREADED

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="memory is limited by a facility of Linux")


@pytest.fixture(autouse=True)
def _memory_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have what was freed returned to the system, so that none of it serves under a limit."""
    monkeypatch.setenv("MALLOC_MMAP_THRESHOLD_", "65536")


PREAMBLE = """
    import os, resource
    from pathlib import Path
    import numpy as np
    import convkit as ck
    from convkit import data, functional as F, models, nn, optim

    def used():
        return int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")

    def within(megabytes, function):
        most = resource.getrlimit(resource.RLIMIT_AS)[1]
        resource.setrlimit(resource.RLIMIT_AS, (used() + int(megabytes * 2**20), most))
        try:
            return function()
        except MemoryError:
            return None
        finally:
            resource.setrlimit(resource.RLIMIT_AS, (most, most))

    def same(one, other):
        pairs = zip(one, other) if isinstance(one, tuple) else [(one, other)]
        return all(np.array_equal(a, b) for a, b in pairs)

    def check(make, room):
        # make() returns what to run; a fresh one each time, so that plans and packed weights are made anew
        expected = make()()
        failed = 0
        for megabytes in room:
            function = make()
            result = within(megabytes, function)
            failed += result is None
            assert result is None or same(result, expected), megabytes
            assert same(function(), expected), f"after {megabytes} MB"
        assert failed, "there was always enough"
        print(failed, "of", len(room))
        assert failed < len(room), "there was never enough"

    ck.set_num_threads(int(os.environ.get("THREADS", 1)))
    F.conv2d(np.ones((4, 8, 32, 32), np.float32), np.ones((8, 8, 3, 3), np.float32))  # threads have been started
    rng = np.random.default_rng(0)
    x = rng.standard_normal((64, 16, 40, 40), dtype=np.float32)  # 6.6 MB
    w = rng.standard_normal((32, 16, 5, 5), dtype=np.float32)
    room = [*np.linspace(0, 8, 17), 12, 16, 24, 32, 64, 1000]
"""

FUNCTIONS = {
    "conv": "lambda: lambda: F.conv2d(x, w, padding=2)",
    "winograd": "lambda: lambda: F.conv2d(x, w[:, :, :3, :3], padding=1)",
    "conv_transpose": "lambda: lambda: F.conv_transpose2d(x, w.transpose(1, 0, 2, 3), stride=2)",
    "pooling": "lambda: lambda: F.max_pool2d(x, 3, stride=1, return_indices=True)",
    "im2col": "lambda: lambda: F.im2col(x[:8], 5)",
    "linear": "lambda: lambda: F.linear(x.reshape(64, -1), np.ones((50, 25600), np.float32))",
    "conv_backward": "lambda: lambda: F.conv2d_backward(y, x, w, padding=2)",
}
MODELS = {
    "inference": "lambda: (lambda m: lambda: m(images))(fresh())",
    "gradients": "lambda: (lambda f: lambda: f(images, labels)[0])(ck.value_and_grad(fresh(), F.cross_entropy))",
}


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions(name: str, threads: int, run_apart: Callable[..., None]) -> None:
    more = "y = rng.standard_normal((64, 32, 40, 40), dtype=np.float32)\n"
    run_apart(f"{_dedented(PREAMBLE, threads)}{more}check({FUNCTIONS[name]}, room)", gigabytes=8)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize(("network", "batch", "threads"), [("fashion_cnn_large", 64, 1), ("fashion_cnn_small", 512, 2)])
def test_models(name: str, network: str, batch: int, threads: int, run_apart: Callable[..., None]) -> None:
    """On one thread, and on two that work side by side, where it is another thread that finds no memory."""
    more = f"""
images = rng.standard_normal(({batch}, 1, 28, 28), dtype=np.float32)
labels = np.arange({batch}) % 10
def fresh():
    ck.set_seed(0)
    return models.{network}()
"""
    run_apart(f"{_dedented(PREAMBLE, threads)}{more}check({MODELS[name]}, room)", gigabytes=8)


def test_steps_readers_and_files(run_apart: Callable[..., None], tmp_path: Path) -> None:
    """A step that fails leaves the weights as they were; so does a file that does not fit."""
    more = f"""
folder = Path({str(tmp_path)!r})
model = models.fashion_cnn_large()
step = ck.compile_step(model, F.cross_entropy, optim.SGD(0.1))
before = model.state_dict()
images = rng.standard_normal((256, 1, 28, 28), dtype=np.float32)
assert within(4, lambda: step(images, np.zeros(256, np.int64))) is None
assert all(np.array_equal(model.state_dict()[name], values) for name, values in before.items())
assert np.isfinite(step(images, np.zeros(256, np.int64)))

data.write_idx(folder / "file.gz", np.zeros((1000, 200, 200), np.uint8))
read = within(20, lambda: data.read_idx(folder / "file.gz"))
assert read is None or {FREE_THREADED} and not read.any(), "addresses that were reserved before may serve"
assert data.read_idx(folder / "file.gz").shape == (1000, 200, 200)

big = nn.Linear(4000, 4000)
ck.save(big, folder / "weights")
before = big.weight.value.copy()
assert within(30, lambda: ck.load(big, folder / "weights") or "loaded") is None
assert np.array_equal(big.weight.value, before)
ck.load(big, folder / "weights")
assert within(1, lambda: ck.save(big, folder / "weights") or "saved") is None
ck.load(big, folder / "weights")  # which is whole
"""
    run_apart(f"{_dedented(PREAMBLE, 1)}{more}", gigabytes=8)


def test_training(run_apart: Callable[..., None], tmp_path: Path) -> None:
    """Wherever memory ends, in the step or in writing a checkpoint, the run ends, and goes on later."""
    more = f"""
folder = Path({str(tmp_path)!r})
images = rng.integers(0, 256, (192, 1, 28, 28), np.uint8)
labels = np.arange(192) % 10

def train(path, resume=None):
    ck.set_seed(0)
    trainer = ck.Trainer(models.fashion_cnn_large(), nn.CrossEntropyLoss(), optim.SGD(0.01))
    trainer.fit((images, labels), epochs=2, batch_size=64, checkpoint=path, resume=resume, verbose=0)
    return {{name: values.tobytes() for name, values in trainer.model.state_dict().items()}}

expected = train(folder / "whole")
failed = 0
for megabytes in (*range(0, 100, 4), 1000):
    path = folder / str(megabytes)
    result = within(megabytes, lambda: train(path))
    failed += result is None
    assert result in (None, expected), megabytes
    assert not list(folder.glob(".*")), megabytes
    assert train(path, path if path.exists() else None) == expected, megabytes
print(failed, "of", 26)
assert 0 < failed < 26, failed
"""
    run_apart(f"{_dedented(PREAMBLE, 1)}{more}", gigabytes=8)


def _dedented(script: str, threads: int) -> str:
    return f"import os; os.environ['THREADS'] = '{threads}'\n" + textwrap.dedent(script)
