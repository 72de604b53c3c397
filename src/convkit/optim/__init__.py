"""Optimisers and learning-rate schedules: how a parameter is updated, and how fast."""

from convkit.optim.optimizers import SGD, Adam, AdamW, Optimizer, ParamGroup, RMSprop
from convkit.optim.schedules import Constant, Cosine, Exponential, Piecewise, Schedule, Step, WarmUp

__all__ = [
    "Optimizer",
    "SGD",
    "Adam",
    "AdamW",
    "RMSprop",
    "ParamGroup",
    "Schedule",
    "Constant",
    "Step",
    "Exponential",
    "Cosine",
    "Piecewise",
    "WarmUp",
]
