"""Training: the trainer with its one loop, and around it metrics, callbacks, history and checkpoints."""

from convkit.train.callbacks import BestCheckpoint, Callback, CSVLog, EarlyStopping
from convkit.train.checkpoint import load, load_model, save
from convkit.train.history import History
from convkit.train.metrics import Accuracy, TopK
from convkit.train.trainer import Trainer

__all__ = [
    "Trainer",
    "History",
    "Accuracy",
    "TopK",
    "Callback",
    "BestCheckpoint",
    "EarlyStopping",
    "CSVLog",
    "save",
    "load",
    "load_model",
]
