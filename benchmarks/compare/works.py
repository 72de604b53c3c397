"""The works that are compared."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..networks import batches, initial_parameters
from .sides.protocol import Arrays


@dataclass(frozen=True)
class Work:
    """One thing every side does.

    Attributes
    ----------
    kind : str
        Which session a side opens for it: "train".
    network : str
        A name of `benchmarks.networks.NETWORKS`.
    steps : int
        How often a turn repeats it; short works more often.
    tolerance : float
        Largest difference between two sides' results, relative to the largest result.
    """

    kind: str
    network: str
    steps: int
    batch: int = 64
    learning_rate: float = 1e-3
    # After some dozen updates in float32, sums taken in another order show in the fourth digit.
    tolerance: float = 1e-3

    @property
    def title(self) -> str:
        return f"{self.kind} {self.network}, batch {self.batch}"

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def save_arrays(self, path: Path, rotation: int = 8) -> None:
        """Write `rotation` batches and the initial parameters, the same for every side."""
        images, labels = batches(rotation, self.batch)
        Arrays.save(str(path), images, labels, initial_parameters(self.network))


WORKS = (
    Work("train", "fashion_cnn_small", steps=60),
    Work("train", "lenet5", steps=60),
    Work("train", "fashion_cnn_large", steps=15),
)
