"""Python threads, forked and spawned processes, limits from outside, and neighbours with threads of their own."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import convkit as ck
from convkit import config, models, nn, optim, parameter
from convkit import functional as F
from convkit.graph.plan import Plan, PlanCache
from convkit.nn import module
from interpreter import FREE_THREADED

linux = pytest.mark.skipif(sys.platform != "linux", reason="what is tested is Linux' own")
forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")


def cores() -> int:
    """Those that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


# A script's beginning: a call that is shared out among two threads, and what it gives.
TWO_THREADS = """
    import os, signal, sys
    import numpy as np
    import convkit as ck
    from convkit import functional as F
    ck.set_num_threads(2)
    x, w = np.ones((16, 8, 40, 40), np.float32), np.ones((16, 8, 3, 3), np.float32)
    def right():
        return (F.conv2d(x, w) == 72).all()
    def ends_well(work):
        child = os.fork()
        if child == 0:
            signal.alarm(30)  # ends a child that hangs
            os._exit(0 if work() else 1)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
"""


def script(code: str) -> str:
    return textwrap.dedent(TWO_THREADS) + textwrap.dedent(code)


# --- Python threads ---


def side_by_side(count: int, work: Callable[[int], Any]) -> list[Any]:
    """What the work returns in so many threads at once."""
    results: list[Any] = [None] * count

    def run(number: int) -> None:
        results[number] = work(number)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    return results


@pytest.mark.usefixtures("threaded")
@pytest.mark.parametrize("threads", [1, 2])
def test_eight_threads_call_one_model_with_more_shapes_than_it_keeps_plans(threads: int) -> None:
    ck.set_num_threads(threads)
    model = models.fashion_cnn_small()
    rng = np.random.default_rng(3)
    batches = [rng.random((size, 1, 28, 28), dtype=np.float32) for size in range(1, 25, 2)]
    expected = [model(batch).tobytes() for batch in batches]

    def work(number: int) -> bool:
        order = np.random.default_rng(number).integers(0, len(batches), 60)
        return all(model(batches[place]).tobytes() == expected[place] for place in order)

    assert side_by_side(8, work) == [True] * 8


def waited() -> float:
    """Seconds for which this thread was ready to run, but other processes had the cores."""
    path = Path("/proc/thread-self/schedstat")
    return int(path.read_text().split()[1]) / 1e9 if path.exists() else 0.0


@pytest.mark.ordinary_build
@pytest.mark.usefixtures("threaded")
def test_two_threads_call_one_model_in_well_below_twice_the_time_of_one() -> None:
    if min(cores(), config._cgroup_cores() or 2) < 2:
        pytest.skip("needs two cores")
    ck.set_num_threads(1)
    model, x = models.fashion_cnn_large(), np.ones((64, 1, 28, 28), np.float32)

    def seconds(threads: int) -> float:
        """Until the last thread was ready, but for what neighbours took."""
        begun: list[float] = []
        barrier = threading.Barrier(threads, lambda: begun.append(time.perf_counter()))

        def call(_: int) -> float:
            before = waited()
            barrier.wait()
            for _ in range(8):
                model(x)
            return time.perf_counter() - begun[0] - (waited() - before)

        return max(side_by_side(threads, call))

    one = two = np.inf
    for number in range(30):
        one, two = min(one, seconds(1)), min(two, seconds(2))
        if number >= 5 and two < 1.6 * one:
            break
    assert two < 1.6 * one


@pytest.mark.skipif(not FREE_THREADED, reason="an interpreter with a global lock")
def test_an_interpreter_without_a_global_lock_stays_without() -> None:
    code = """
        import importlib, pkgutil, sys
        from convkit import _kernels, data, models, train
        for driver in pkgutil.iter_modules(_kernels.__path__):
            importlib.import_module(f"convkit._kernels.{driver.name}")
        sys.exit(sys._is_gil_enabled())
    """
    subprocess.run([sys.executable, "-W", "error", "-c", textwrap.dedent(code)], check=True)


@linux
@pytest.mark.ordinary_build
@pytest.mark.usefixtures("threaded")
def test_threads_that_end_hand_back_scratch_memory_and_teams() -> None:
    ck.set_num_threads(2)
    model, x = models.fashion_cnn_small(), np.ones((24, 1, 28, 28), np.float32)
    expected = model(x).tobytes()

    def held(threads: int) -> tuple[float, int]:
        """Megabytes and threads of this process when so many have called the model, eight at a time, and ended."""
        for _ in range(threads // 8):
            assert side_by_side(8, lambda _: model(x).tobytes()) == [expected] * 8
        time.sleep(0.5)  # a team may end after the thread that it belonged to
        resident = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        return resident / 1e6, len(os.listdir("/proc/self/task"))

    megabytes, threads = held(400)
    more_megabytes, more_threads = held(2000)
    assert more_threads <= threads
    assert more_megabytes - megabytes < 20  # a thread's scratch, let alone its stack, would be more after so many


@linux
def test_a_system_without_keys_for_threads() -> None:
    """Where none was left at import, scratch memory was noted under another library's key: the interpreter's own."""
    code = """
        import ctypes
        from importlib.util import find_spec
        from pathlib import Path
        import numpy as np
        wheels = Path(find_spec("convkit").origin).parents[1].glob("convkit.libs/libgomp*")
        ctypes.CDLL(str(next(wheels, "libgomp.so.1")))  # which ends the process where it finds no key
        c, key = ctypes.CDLL(None), ctypes.c_uint()
        c.pthread_getspecific.restype = ctypes.c_void_p
        taken = []
        while c.pthread_key_create(ctypes.byref(key), None) == 0:
            taken.append(key.value)
        def kept():
            return [c.pthread_getspecific(ctypes.c_uint(number)) for number in range(taken[-1])]
        before = kept()
        from convkit._kernels import conv, core
        for number in taken[-50:]:
            c.pthread_key_delete(ctypes.c_uint(number))
        x, w, y = np.ones((1, 4, 20, 20)), np.ones((4, 4, 3, 3)), np.empty((1, 4, 18, 18))
        conv.ConvForward(x, w, None, y, (1, 1), (0, 0), (1, 1), 1).run()
        assert (y == 36).all() and kept() == before
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True)


def test_threads_that_use_a_model_for_the_first_time_share_its_plans(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even where a second thread is as far as the first before that has noted anything."""
    traced: list[int] = []
    others: list[threading.Thread] = []

    class Model(nn.Module):
        def forward(self, x: Any) -> Any:
            traced.append(1)
            return F.relu(x)

    class Slow(PlanCache):
        def __init__(self, model: nn.Module) -> None:
            super().__init__(model)
            if not others:
                others.append(threading.Thread(target=model, args=(x,)))
                others[0].start()
                others[0].join()

    monkeypatch.setattr(module, "PlanCache", Slow)
    model, x = Model(), np.ones((2, 3), np.float32)
    model(x)
    assert len(traced) == len(others) == 1


def test_a_model_may_be_gone_through_while_another_thread_calls_it_first() -> None:
    """The first call notes things on the layers."""
    model = nn.Sequential(nn.ReLU(), nn.Tanh())
    found = module._members(model, nn.Module)
    assert next(found)[0] == "0"
    model(np.ones((1, 2), np.float32))
    assert [name for name, _ in found] == ["1"]


def test_a_model_may_be_copied_while_another_thread_calls_it_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever it has noted when the copy asks which attributes to leave out."""
    model, own_affairs = nn.ReLU(), module.OWN_AFFAIRS
    model.kept = 1

    class Meanwhile(tuple):
        def __contains__(self, name: object) -> bool:
            for noted in own_affairs:
                model.__dict__.setdefault(noted, None)
            return name in own_affairs

    monkeypatch.setattr(module, "OWN_AFFAIRS", Meanwhile())
    assert model.__getstate__() == {"kept": 1}


def test_threads_that_run_side_by_side_look_for_a_plan_once_each(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even where each call of one begins while the other's plan is at work."""
    searched: list[Any] = []
    find, run, both = PlanCache._find, Plan.run, threading.Barrier(2)

    def counting(self: PlanCache, key: Any) -> Plan | None:
        searched.append(key)
        return find(self, key)

    def meeting(self: Plan, *arguments: Any) -> list[np.ndarray]:
        both.wait(60)
        return run(self, *arguments)

    monkeypatch.setattr(PlanCache, "_find", counting)
    monkeypatch.setattr(Plan, "run", meeting)
    model, x = nn.Linear(3, 4), np.ones((2, 3), np.float32)
    first, second = side_by_side(2, lambda _: [model(x).tobytes() for _ in range(5)])
    assert first == second and len(set(first)) == 1
    assert len(searched) == 2


def test_a_thread_sees_that_the_model_has_changed_though_another_saw_it_first() -> None:
    model, x = nn.Sequential(nn.Linear(3, 4), nn.ReLU()), np.ones((2, 3), np.float32)
    with ThreadPoolExecutor(1) as other:
        before = other.submit(model, x).result()
        model[0].weight = nn.Linear(3, 4).weight
        after = model(x)
        assert not np.array_equal(before, after)
        np.testing.assert_array_equal(other.submit(model, x).result(), after)


def test_threads_draw_noise_of_their_own() -> None:
    """Wherever in a call another thread gets in between."""
    model, x = nn.Dropout(0.5), np.ones(1000, np.float32)
    drawn = [model(x, training=True).tobytes()]

    def call() -> None:
        drawn.append(model(x, training=True).tobytes())

    def interrupt(frame: Any, event: str, argument: Any) -> None:
        if event == "c_return" and frame.f_code is nn.Module.__call__.__code__:
            side_by_side(1, lambda _: call())

    sys.setprofile(interrupt)
    call()
    sys.setprofile(None)
    assert len(set(drawn)) == len(drawn) > 2


@pytest.mark.parametrize("name", ["version", "changes", "writes"])
def test_a_thread_that_was_held_up_leaves_no_number_that_was_seen(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What stands for it: while one change is noted, two others are, and somebody looks."""
    layer = nn.Linear(2, 2)
    changes: dict[str, Callable[[], Any]] = {
        "version": parameter.structure.bump,
        "changes": lambda: setattr(layer, "note", 1),
        "writes": lambda: layer.weight.assign(np.ones((2, 2))),
    }
    seen: list[int] = []

    def slowly(structure: Any, which: str, value: Any) -> None:
        if which == name and not seen:
            seen.append(value)
            changes[name]()
            changes[name]()
            seen.append(getattr(structure, name))
        object.__setattr__(structure, which, value)

    monkeypatch.setattr(type(parameter.structure), "__setattr__", slowly)
    changes[name]()
    changes[name]()
    assert getattr(parameter.structure, name) not in seen


def test_a_plan_that_another_thread_drops_meanwhile_is_not_run() -> None:
    """One thread has looked up the last plan when another finds that the model has changed."""
    model, x = nn.Linear(2, 2), np.ones((1, 2), np.float32)
    cache = PlanCache(model)

    class Key:
        def __hash__(self) -> int:
            return 1

        def __eq__(self, other: object) -> bool:
            if changed and threading.current_thread() is threading.main_thread():
                thread = threading.Thread(target=cache.run, args=("other", make, [x]))
                thread.start()
                thread.join()
            return isinstance(other, Key)

    def make() -> Any:
        return model._make_plan([x], training=False)

    changed = False
    old, _ = cache.run(Key(), make, [x])
    model.note = 1
    changed = True
    new, _ = cache.run(Key(), make, [x])
    assert new is not old


def test_kernels_let_other_python_threads_run() -> None:
    before = ck.get_num_threads()
    ck.set_num_threads(1)
    x, weight = np.ones((8, 64, 96, 96), np.float32), np.ones((128, 64, 5, 5), np.float32)  # some tenths of a second
    worker = threading.Thread(target=F.conv2d, args=(x, weight))
    worker.start()
    ticks = 0
    while worker.is_alive():
        time.sleep(0.001)
        ticks += 1
    ck.set_num_threads(before)
    assert ticks > 10


@pytest.mark.usefixtures("threaded")
def test_two_models_train_side_by_side_as_they_do_alone() -> None:
    ck.set_num_threads(2)
    rng = np.random.default_rng(0)
    x, labels = rng.standard_normal((200, 3, 12, 12)).astype(np.float32), rng.integers(0, 4, 200)

    def model() -> nn.Module:
        ck.set_seed(1)
        return nn.Sequential(
            nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Dropout(0.2), nn.Linear(800, 4)
        )

    def trained(network: nn.Module, seed: int) -> list[bytes]:
        trainer = ck.Trainer(network, nn.CrossEntropyLoss(), optim.Adam(1e-3), metrics=["accuracy"])
        trainer.fit((x, labels), validation=(x, labels), epochs=3, batch_size=32, seed=seed, verbose=0)
        return [values.tobytes() for values in network.state_dict().values()]

    alone = [trained(model(), seed) for seed in (0, 1)]
    networks = [model(), model()]
    assert alone[0] != alone[1]
    assert side_by_side(2, lambda number: trained(networks[number], number)) == alone


# --- forks ---


@forks
def test_a_child_computes_with_threads_of_its_own(run_apart: Callable[..., None]) -> None:
    run_apart(
        script("""
        assert ends_well(right)                                            # before the parent has started a team
        assert right()
        assert ends_well(lambda: right() and ck.get_num_threads() == 2)    # and after
        assert ends_well(lambda: right() and ends_well(right) and right())
        assert right()
        """)
    )


@linux
def test_a_child_computes_whoever_started_the_parents_threads(run_apart: Callable[..., None]) -> None:
    """A library that shares the OpenMP runtime may have left a team behind, for which a child would wait for ever."""
    run_apart(
        script("""
        import ctypes
        try:
            runtime = ctypes.CDLL("libgomp.so.1", os.RTLD_NOLOAD)
        except OSError:  # another runtime
            sys.exit()
        work = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(lambda data: None)
        runtime.GOMP_parallel(work, None, 2, 0)
        assert ends_well(right)
        assert right()
        """)
    )


@forks
def test_a_child_plans_though_another_thread_was_planning_when_it_was_forked(run_apart: Callable[..., None]) -> None:
    run_apart(
        script("""
        import threading
        from convkit import nn
        begun, ended = threading.Event(), threading.Event()
        class Slow(nn.Module):
            def __init__(self):
                self.layer = nn.Linear(3, 2)
            def forward(self, x):
                if threading.current_thread() is not threading.main_thread():
                    begun.set()
                    ended.wait(60)
                return self.layer(x)
        model, few = Slow(), np.ones((4, 3), np.float32)
        other = threading.Thread(target=model, args=(few,))
        other.start()
        begun.wait(60)
        well = ends_well(lambda: model(few).shape == (4, 2))
        ended.set()
        other.join()
        assert well
        """)
    )


# --- multiprocessing and joblib ---

WORKERS = """
import multiprocessing, os, sys
import numpy as np
import convkit as ck
from convkit import models, nn, optim

def predict(model, x):
    return model(x)

def main(how):
    ck.set_num_threads(2)
    x = np.random.default_rng(0).random((32, 1, 28, 28), dtype=np.float32)
    model = models.fashion_cnn_small()
    step = ck.compile_step(model, nn.CrossEntropyLoss(), optim.Adam(1e-3))
    step(x, np.zeros(32, np.int64))  # the parent's threads run, and the parameters lie in the step's memory
    pieces, expected = np.split(x, 4), [model(piece).tobytes() for piece in np.split(x, 4)]
    if how in multiprocessing.get_all_start_methods():
        with multiprocessing.get_context(how).Pool(2) as pool:
            results = pool.starmap(predict, [(model, piece) for piece in pieces])
    else:
        import joblib
        results = joblib.Parallel(n_jobs=2, backend=how)(joblib.delayed(predict)(model, piece) for piece in pieces)
    assert [result.tobytes() for result in results] == expected

if __name__ == "__main__":
    main(sys.argv[1])
"""


@pytest.mark.parametrize("how", ["fork", "spawn", "forkserver", "loky", "multiprocessing", "threading"])
def test_worker_processes_take_a_model_and_compute(how: str, tmp_path: Path) -> None:
    if how in ("loky", "multiprocessing", "threading"):
        pytest.importorskip("joblib")
    elif how != "spawn" and sys.platform == "win32":
        pytest.skip("this system does not fork")
    (tmp_path / "workers.py").write_text(WORKERS)
    subprocess.run(
        [sys.executable, str(tmp_path / "workers.py"), how],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        timeout=120,
        check=True,
    )


# --- limits ---


def threads_in(code: str, **environment: str) -> str:
    """What a fresh process prints whose number of threads is not set from here, or as said."""
    rest = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    begin = "import os\nimport convkit as ck\n"
    done = subprocess.run(
        [sys.executable, "-c", begin + textwrap.dedent(code)],
        env={**rest, **environment, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        text=True,
        timeout=120,
        check=True,
    )
    return done.stdout.strip()


@linux
def test_the_default_follows_affinity_while_the_process_runs() -> None:
    code = """
    import threading
    cores = os.sched_getaffinity(0)
    print(ck.get_num_threads() == len(cores))
    os.sched_setaffinity(0, {min(cores)})
    print(ck.get_num_threads())
    os.sched_setaffinity(0, cores)
    print(ck.get_num_threads() == len(cores))
    ck.set_num_threads(3)
    os.sched_setaffinity(0, {min(cores)})
    print(ck.get_num_threads())
    """
    assert threads_in(code).split() == ["True", "1", "True", "3"]


def new_group() -> Path | None:
    """The file for the quota of a control group that is made inside our own, or above it."""
    for folder in config._cgroup_folders():
        group = folder / f"convkit-test-{os.getpid()}"
        with suppress(OSError):
            group.mkdir()
            for name in ("cpu.max", "cpu.cfs_quota_us"):
                if (group / name).exists():
                    return group / name
            group.rmdir()
    return None


@pytest.fixture
def quota() -> Iterator[Path]:
    file = new_group()
    if file is None:
        pytest.skip("no control group with a quota can be made here")
    yield file
    file.parent.rmdir()


@linux
@pytest.mark.skipif(cores() < 2, reason="one core has no fewer")
def test_the_default_follows_the_quota_of_the_control_group_while_the_process_runs(quota: Path) -> None:
    """Kernels, which `known_threads` stands for, within about a second, and `get_num_threads` at once."""
    code = """
    import sys, time
    from pathlib import Path
    Path(sys.argv[1], "cgroup.procs").write_text(str(os.getpid()))
    import convkit as ck
    from convkit._kernels import core
    print("ready", flush=True)
    for line in sys.stdin:
        expected, began = int(line), time.monotonic()
        while core.known_threads() != expected and time.monotonic() < began + 10:
            time.sleep(0.05)
        print(core.known_threads(), ck.get_num_threads(), time.monotonic() - began, flush=True)
    """
    rest = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    with subprocess.Popen(
        [sys.executable, "-c", "import os\n" + textwrap.dedent(code), str(quota.parent)],
        env={**rest, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stdin is not None and child.stdout is not None
        quota.write_text("100000")  # of 100000, the period that groups begin with
        assert child.stdout.readline() == "ready\n"
        for cores in (1, 2, 1):
            quota.write_text(f"{cores}00000")
            print(cores, file=child.stdin, flush=True)
            known, now, seconds = child.stdout.readline().split()
            assert (int(known), int(now)) == (cores, cores)
            assert float(seconds) < 3


@linux
def test_the_control_group_is_asked_once_a_second_while_functions_are_called() -> None:
    code = """
    import time
    import numpy as np
    from convkit import functional as F
    from convkit._kernels import core
    if not core.has_openmp():
        raise SystemExit
    asked = []
    core.follow_group(lambda: asked.append(1) or 1)
    assert len(asked) == 1 and ck.get_num_threads() == 1 and len(asked) == 2
    x, end = np.ones(9, np.float32), time.monotonic() + 2.5
    while time.monotonic() < end:
        F.relu(x)
    assert 3 <= len(asked) <= 4, asked
    asked.clear()
    ck.set_num_threads(2)  # whatever the group has
    assert ck.get_num_threads() == 2 and not asked
    """
    threads_in(code)


@pytest.mark.parametrize("at_start", ["1", "2", "4"])
def test_threadpoolctl_sees_and_governs_the_number_of_threads(at_start: str) -> None:
    pytest.importorskip("threadpoolctl")
    code = """
    import threading
    from threadpoolctl import threadpool_info, threadpool_limits
    def seen():
        return max(pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "openmp")
    print(ck.get_num_threads(), seen())
    ck.set_num_threads(3)
    print(ck.get_num_threads(), seen())
    for limit in (1, 2):
        with threadpool_limits(limit):
            print(ck.get_num_threads(), seen())
            ck.set_num_threads(3)
            print(ck.get_num_threads(), seen())
    print(ck.get_num_threads(), seen())
    other = threading.Thread(target=lambda: print(ck.get_num_threads()))
    other.start()
    other.join()
    """
    lines = threads_in(code, OMP_NUM_THREADS=at_start).splitlines()
    assert lines == [f"{at_start} {at_start}", "3 3", "1 1", "1 1", "2 2", "2 2", "3 3", "3"]


# --- beside others ---


@pytest.mark.usefixtures("threaded")
def test_beside_scipy_and_blas_in_other_threads() -> None:
    signal = pytest.importorskip("scipy.signal")
    ck.set_num_threads(2)
    rng = np.random.default_rng(5)
    image, kernel = rng.standard_normal((1, 1, 160, 160)), rng.standard_normal((1, 1, 7, 7))
    matrix = rng.standard_normal((300, 300))
    works: list[Callable[[], np.ndarray]] = [
        lambda: F.conv2d(image, kernel),
        lambda: signal.correlate2d(image[0, 0], kernel[0, 0], "valid"),
        lambda: matrix @ matrix,
    ]
    alone = [work() for work in works]
    np.testing.assert_allclose(alone[0][0, 0], alone[1], atol=1e-10)

    def repeat(number: int) -> bool:
        return all(np.allclose(works[number % 3](), alone[number % 3], rtol=0, atol=1e-9) for _ in range(20))

    assert side_by_side(6, repeat) == [True] * 6


BESIDE_TORCH = """
import os, signal, sys, threading
import numpy as np
if sys.argv[1] == "torch first":
    import torch
import convkit as ck
from convkit import functional as F
ck.set_num_threads(2)
rng = np.random.default_rng(0)
x, w = (rng.standard_normal(shape).astype(np.float32) for shape in ((16, 8, 40, 40), (16, 8, 3, 3)))
if sys.argv[1] == "convkit first":
    F.conv2d(x, w)
import torch
torch.set_num_threads(2)

def agree(rounds=20):
    for _ in range(rounds):
        theirs = torch.nn.functional.conv2d(torch.from_numpy(x), torch.from_numpy(w)).numpy()
        assert np.allclose(F.conv2d(x, w), theirs, atol=1e-4)

agree()
workers = [threading.Thread(target=agree) for _ in range(4)]
for worker in workers:
    worker.start()
for worker in workers:
    worker.join()
child = os.fork()
if child == 0:
    signal.alarm(60)
    expected = F.conv2d(x, w)
    os._exit(0 if np.isfinite(expected).all() else 1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
agree()
"""


@pytest.mark.torch
@linux
@pytest.mark.parametrize("order", ["torch first", "convkit first"])
def test_beside_pytorch_in_one_process(order: str) -> None:
    python = os.environ.get("CONVKIT_TORCH_PYTHON")
    if not python:
        pytest.skip("CONVKIT_TORCH_PYTHON names no interpreter with PyTorch")
    package = str(Path(ck.__file__).parents[1])
    environment = os.environ | {"PYTHONPATH": package}
    subprocess.run([python, "-c", BESIDE_TORCH, order], env=environment, timeout=120, check=True)
