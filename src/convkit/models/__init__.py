"""Networks of the literature, one file each, naming its paper."""

from convkit.models.alexnet import alexnet, alexnet_one_column, alexnet_one_column_small, alexnet_small
from convkit.models.context import context_basic, context_large, context_small
from convkit.models.encoder_decoder import encoder_decoder
from convkit.models.fashion_cnn import fashion_cnn_large, fashion_cnn_small
from convkit.models.googlenet import googlenet, googlenet_bn, googlenet_bn_small, googlenet_small
from convkit.models.highway import highway_conv16, highway_conv32, highway_dense, plain_dense
from convkit.models.inception_v3 import inception_v3, inception_v3_small
from convkit.models.lenet import lenet5
from convkit.models.lenet5_1998 import MAPCriterion, MLECriterion, lenet5_1998
from convkit.models.registry import REGISTRY, ModelEntry, Recipe
from convkit.models.resnet import resnet18, resnet18_small, resnet34, resnet50, resnet50_small, resnet101, resnet152
from convkit.models.resnet_cifar import (
    plain20,
    plain32,
    plain44,
    plain56,
    plain110,
    resnet20,
    resnet32,
    resnet44,
    resnet56,
    resnet110,
)  # fmt: skip

__all__ = [
    "fashion_cnn_large", "fashion_cnn_small", "lenet5", "lenet5_1998", "MAPCriterion", "MLECriterion",
    "alexnet", "alexnet_one_column", "alexnet_small", "alexnet_one_column_small",
    "googlenet", "googlenet_bn", "googlenet_small", "googlenet_bn_small", "inception_v3", "inception_v3_small",
    "resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "resnet18_small", "resnet50_small",
    "resnet20", "resnet32", "resnet44", "resnet56", "resnet110",
    "plain20", "plain32", "plain44", "plain56", "plain110",
    "highway_dense", "plain_dense", "highway_conv16", "highway_conv32",
    "encoder_decoder", "context_basic", "context_large", "context_small",
    "REGISTRY", "ModelEntry", "Recipe",
]  # fmt: skip
