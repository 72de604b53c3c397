"""Networks of the literature, one file each, naming its paper."""

from convkit.models.fashion_cnn import fashion_cnn_large, fashion_cnn_small
from convkit.models.lenet import lenet5
from convkit.models.lenet5_1998 import MAPCriterion, MLECriterion, lenet5_1998
from convkit.models.registry import REGISTRY, ModelEntry, Recipe

__all__ = [
    "fashion_cnn_large", "fashion_cnn_small", "lenet5", "lenet5_1998", "MAPCriterion", "MLECriterion",
    "REGISTRY", "ModelEntry", "Recipe",
]  # fmt: skip
