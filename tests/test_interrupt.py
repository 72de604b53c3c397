"""Ctrl-C while modules are imported, which must neither be taken for one that is missing nor leave half of one."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from convkit import errors
from convkit.interrupt import held_back

# Extension modules answer an exception within their initialisation so, whatever it was: pybind11's do.
CONVERTING = """
import signal

try:
    for _ in range({presses}):
        signal.raise_signal(signal.SIGINT)
except BaseException as error:
    raise ImportError("initialization failed") from error
whole = True
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The file of a module that may be imported as `disturbed`."""
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path / "disturbed.py"
    sys.modules.pop("disturbed", None)


@pytest.mark.parametrize("presses", [1, 2])
def test_control_c_waits_for_the_end_of_an_import(module: Path, presses: int) -> None:
    module.write_text(CONVERTING.format(presses=presses))
    with pytest.raises(KeyboardInterrupt):
        errors.require("disturbed", "plot", "drawing")
    assert sys.modules["disturbed"].whole
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert errors.require("disturbed", "plot", "drawing").whole


def test_control_c_before_an_error_is_not_lost(module: Path) -> None:
    module.write_text(CONVERTING.format(presses=1) + "import no_such_module\n")
    with pytest.raises(KeyboardInterrupt):
        errors.require("disturbed", "plot", "drawing")


def test_each_press_reaches_the_handler_there_was() -> None:
    heard: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: heard.append(number))
    try:
        with held_back():
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)
            assert not heard
        assert heard == [signal.SIGINT] * 2
    finally:
        signal.signal(signal.SIGINT, before)


def test_who_ignores_control_c_goes_on_ignoring_it() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with held_back():
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
            signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_thread_imports_as_before(module: Path) -> None:
    """Handlers of signals belong to the main thread."""
    module.write_text("whole = True")
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(errors.require, "disturbed", "plot", "drawing").result().whole
