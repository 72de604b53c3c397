"""Tests against Keras, which lives in an environment of its own.

They run where that environment's interpreter is named, ``CONVKIT_KERAS_PYTHON=PATH pytest tests/keras_models`` or
``pytest tests/keras_models --keras-python PATH``, and are skipped elsewhere.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from peer import Peer, fits

HERE = Path(__file__).resolve().parent


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--keras-python", metavar="PATH", help="the interpreter of an environment with Keras")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.keras)


@pytest.fixture(scope="session")
def there(request: pytest.FixtureRequest) -> Iterator[Peer]:
    """A process with Keras and convkit."""
    # pytest knows the option only when this folder is named on the command line.
    python = request.config.getoption("--keras-python", None) or os.environ.get("CONVKIT_KERAS_PYTHON")
    if not python:
        pytest.skip("no environment with Keras: set CONVKIT_KERAS_PYTHON")
    if not fits(python):
        pytest.skip(f"{python} is another version of Python, for which convkit is not built")
    peer = Peer(python, HERE / "keras_interop.py")
    yield peer
    peer.close()
