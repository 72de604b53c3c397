"""Tests of `benchmarks.compare`: what can be tested without other frameworks."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
