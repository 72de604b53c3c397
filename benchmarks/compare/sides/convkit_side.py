"""convkit's own side: the networks as they are shipped, and a training step as `compile_step` plans it."""

from __future__ import annotations

import os
from typing import Any

import convkit as ck
from convkit import models, nn, optim

from .protocol import Arrays, serve


class TrainingStep:
    """One planned training step. Its results are the losses."""

    def __init__(self, work: dict[str, Any], arrays: Arrays, options: dict[str, Any]) -> None:
        self.images, self.labels, self.initial = arrays.images, arrays.labels, arrays.parameters
        self.model = getattr(models, work["network"])()
        optimizer = optim.Adam(lr=work["learning_rate"])
        self.compiled = ck.compile_step(self.model, nn.CrossEntropyLoss(), optimizer)
        self.fresh = self.compiled.state_dict()

    def reset(self) -> None:
        for parameter, values in zip(self.model.parameters().values(), self.initial, strict=True):
            parameter.assign(values)
        self.compiled.load_state_dict(self.fresh)

    def step(self, index: int) -> float:
        batch = index % len(self.images)
        return self.compiled(self.images[batch], self.labels[batch])


def main() -> None:
    ck.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    serve({"convkit": ck.__version__}, {"train": TrainingStep})


if __name__ == "__main__":
    main()
