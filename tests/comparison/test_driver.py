"""The driver with sides of convkit's own: that they take turns, agree, fail and end as they should."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benchmarks.compare.__main__ import chosen_works, main
from benchmarks.compare.driver import ResultsDiffer, SideFailed, Sides, arrays_of, check, compare, measure
from benchmarks.compare.frameworks import PEERS, Framework, PeerMissing, Variant, interpreter
from benchmarks.compare.operations import operation_works
from benchmarks.compare.sides import protocol
from benchmarks.compare.sides.convkit_side import OPERATIONS
from benchmarks.compare.sides.protocol import SAMPLES, Calls, Epochs, SavedArrays, Session, digest, save_arrays
from benchmarks.compare.works import Work
from benchmarks.layers import distinct_layers

import convkit as ck
from convkit.data import Batches

MODULE = "benchmarks.compare.sides.convkit_side"
ONE = Framework("one", MODULE, (Variant("", ("train", "memory", "full memory", "operation")),))
TWO = Framework("two", MODULE, (Variant("a", ("train",)), Variant("b", ("operation",))), threads=1)


def works(*patterns: str) -> list[Work]:
    return list(chosen_works(patterns, None, quick=True))


def sides_of(*frameworks: Framework) -> Sides:
    return Sides([(framework, sys.executable) for framework in frameworks], threads=1)


# --- processes ----------------------------------------------------------------------------------------------


def test_sides_take_part_by_family_and_agree() -> None:
    [train], [relu] = works("train lenet5*"), works("relu 64x24*")
    with sides_of(ONE, TWO) as sides:
        measured, frameworks = measure(sides, train)
        assert frameworks == {"one": "one", "two (a)": "two"}
        assert {name: len(times) for name, times in measured.items()} == {"one": 2, "two (a)": 2}
        assert all(time > 0 for times in measured.values() for time in times)
        _, frameworks = measure(sides, relu)
        assert frameworks == {"one": "one", "two (b)": "two"}
    assert sides.versions["one"]["convkit"]


def test_each_turn_goes_on_with_other_inputs_and_begins_with_another_side() -> None:
    """And only the first is not timed."""
    order: list[str] = []

    class Fake:
        name = "fake"

        def __init__(self) -> None:
            self.asked: list[tuple[int, int, int]] = []

        def open(self, work: Work, arrays: str) -> None:
            pass

        def ask(self, do: str, **request: int) -> dict[str, Any]:
            if do == "run":
                order.append(self.name)
                self.asked.append((request["first"], request["warm_up"], request["steps"]))
            return {"seconds": [len(self.asked)] * 2, "results": [[len(self.asked)]] * 2}

    fakes: list[Any] = [Fake(), Fake()]
    fakes[1].name = "other"
    work = Work("work", "train", "train", {}, dict, steps=2, warm_up=1, rounds=3)
    assert compare(fakes, work) == {name: [2e3, 2e3, 3e3, 3e3, 4e3, 4e3] for name in ("fake", "other")}
    assert fakes[0].asked == fakes[1].asked == [(0, 1, 2), (2, 1, 2), (4, 1, 2), (6, 1, 2)]
    assert order == ["fake", "other", "other", "fake"] * 2


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
@pytest.mark.ordinary_build
def test_memory_is_measured_in_processes_of_their_own() -> None:
    [memory] = works("memory fashion*")
    small = replace(memory, steps=1, details=memory.details | {"network": "fashion_cnn_large"})
    with sides_of(ONE) as sides:
        measured, _ = measure(sides, small)
    # Above the idle process: 8 batches of 200 KB, the parameters four times over, and the activations.
    assert 10 < measured["one"][0] < 80


def test_networks_of_full_size_draw_the_weights_that_others_are_given() -> None:
    [infer] = works("memory infer resnet18*")
    given = infer.arrays()
    expected = ck.models.resnet18()
    expected.load_state_dict({name: given[name] for name in expected.state_dict()})
    with sides_of(ONE) as sides:
        [side] = sides.taking_part("full memory")
        with arrays_of(infer) as path:
            side.open(infer, path)
            [found] = side.ask(do="run", first=1, warm_up=0, steps=1)["results"]
    np.testing.assert_allclose(found, digest(expected(given["images"][1])), rtol=1e-4, atol=1e-5)


def test_a_side_that_ends_says_why() -> None:
    [relu] = works("relu 64x24*")
    broken = replace(relu, details={"op": "no such operation"})
    with sides_of(ONE) as sides:
        with pytest.raises(SideFailed, match="one ended when asked to open; its last words: .*no such operation"):
            measure(sides, broken)
        measured, _ = measure(sides, relu)  # by a new process
    assert measured["one"]


def test_a_framework_that_does_not_start_is_left_out() -> None:
    [relu] = works("relu 64x24*")
    absent = Framework("absent", "benchmarks.compare.sides.of_nobody", (Variant("", ("operation",)),))
    with sides_of(absent, ONE) as sides:
        _, frameworks = measure(sides, relu)
        assert frameworks == {"one": "one"}
        assert "absent ended when asked to describe; its last words: " in sides.left_out["absent"]
        assert "No module named" in sides.left_out["absent"]
    with sides_of(absent) as sides, pytest.raises(SideFailed, match="nobody takes part"):
        measure(sides, relu)


def test_results_that_differ_are_an_error() -> None:
    [train] = works("train lenet5*")
    expected = np.array([1.0, 2.0])
    check(train, expected * (1 + 1e-4), expected, "one", "two")
    for wrong in (expected * 1.01, expected * np.nan):
        with pytest.raises(ResultsDiffer, match="train lenet5 b64: the results of one differ from those of two by"):
            check(train, wrong, expected, "one", "two")


def test_one_command_measures_and_reports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))  # where no peer has an environment
    target = tmp_path / "figures.json"
    arguments = ["--quick", "--threads", "1", "--only", "cross_entropy 10 *", "--only", "import"]
    assert main([*arguments, "--json", str(target), "--markdown", str(tmp_path / "table.md")]) == 0
    report = json.loads(target.read_text())
    assert [work["title"] for work in report["works"]] == ["import", "cross_entropy 10 classes b64"]
    assert set(report["left_out"]) == {framework.name for framework in PEERS.values()}
    printed = capsys.readouterr().out
    assert "Left out: PyTorch: no environment: give --python-torch PATH, or --install" in printed
    assert "| `import convkit` |" in printed and (tmp_path / "table.md").read_text() in printed


def test_refuses_a_pattern_that_no_work_fits(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--only", "nothing*"]) == 2
    assert capsys.readouterr().err == "--only nothing*: no such work\n"


def test_an_interpreter_that_is_not_there() -> None:
    with pytest.raises(PeerMissing, match="--python-tf /no/python: no such program"):
        interpreter("tf", "/no/python", install=False)


# --- works and protocol -------------------------------------------------------------------------------------


def test_quick_works_are_short() -> None:
    assert all(work.rounds == 1 and work.steps <= 2 and work.warm_up <= 1 for work in chosen_works((), None, True))
    assert {work.rounds for work in chosen_works((), 5, False)} == {5}


def test_every_operation_has_a_session_and_arrays_that_rotate() -> None:
    assert {work.details["op"] for work in operation_works()} == set(OPERATIONS)
    for work in operation_works():
        if work.family == "operation" and work.title.endswith("b1"):
            lengths = {len(array) for array in work.arrays().values()}
            assert len(lengths) == 1 and lengths.pop() >= 2, work.title


def test_layers_that_several_networks_share_are_measured_once() -> None:
    layers = distinct_layers()
    keys = [replace(layer, network="", layer="", times=1) for layer, _ in layers]
    assert len(set(keys)) == len(keys)
    users = {str(layer): networks for layer, networks in layers}
    assert all(len(set(networks)) == len(networks) for networks in users.values())
    assert users["googlenet.conv1"] == ["googlenet", "resnet18", "resnet50"]


@pytest.mark.parametrize(("shape", "count"), (((), 1), ((3,), 3), ((5, 7, 11), SAMPLES)))
def test_a_digest_is_some_values_of_an_array(shape: tuple[int, ...], count: int) -> None:
    array = np.arange(np.prod(shape, dtype=int)).reshape(shape)
    found = digest(array)
    assert len(found) == count
    assert found[0] == 0 and found[-1] == array.size - 1
    assert digest(np.asfortranarray(array)) == found


def test_a_session_goes_on_with_the_inputs_of_the_turn_before() -> None:
    class Echo(Session):
        calls: Sequence[str] = ()

        def reset(self) -> None:
            self.calls = [*self.calls, "reset"]

        def step(self, index: int) -> Any:
            return index

    session = Echo()
    seconds, results = session.run(first=6, warm_up=2, steps=3)
    assert session.calls == ["reset"]
    assert results == [[8], [9], [10]] and len(seconds) == 3


def test_calls_are_warmed_up_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    """With all inputs in turn, at least as often as asked for and as long as threads need to wake up."""
    made: list[int] = []
    session = Calls([lambda i=i: made.append(i) or i for i in range(3)])
    monkeypatch.setattr(protocol, "WARM_UP_SECONDS", 0.0)
    assert session.run(first=1, warm_up=4, steps=2)[1] == [[2], [0]]
    assert made == [1, 2, 0, 1, 2, 0]
    monkeypatch.setattr(protocol, "WARM_UP_SECONDS", 0.001)
    session.run(first=0, warm_up=1, steps=1)
    assert len(made) > 20


@pytest.mark.parametrize("epoch", (0, 3))
def test_peers_take_images_in_the_order_of_the_trainer(epoch: int) -> None:
    images = np.arange(100)
    np.testing.assert_array_equal(Epochs.order(epoch, 100), Batches((images, images)).order(epoch))


def test_arrays_travel_in_files(tmp_path: Path) -> None:
    arrays = {"x": np.arange(6, dtype=np.float32).reshape(2, 3), "labels": np.arange(2)}
    save_arrays(str(tmp_path), arrays)
    loaded = SavedArrays(str(tmp_path))
    assert loaded.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(loaded[name], array)
        assert loaded[name].dtype == array.dtype
