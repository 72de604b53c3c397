"""Runs in an environment with onnxruntime: `python ort_answers.py MODEL IN.npy OUT.npz` writes a model's outputs."""

from __future__ import annotations

import sys

import numpy as np
import onnxruntime

model, given, answers = sys.argv[1:]
session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
[x] = session.get_inputs()
np.savez(answers, *session.run(None, {x.name: np.load(given)}))
