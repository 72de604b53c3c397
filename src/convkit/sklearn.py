"""Estimators for scikit-learn: networks that take their place in pipelines, grid searches and cross-validation.

`ConvClassifier` and `ConvRegressor` train a network with `convkit.Trainer`; what is here translates between its words
and scikit-learn's. scikit-learn itself comes with the extra ``sklearn``.

Within an estimator images are flat rows with the shape of one of them beside it, for rows are what scikit-learn counts
and checks; a network sees them in that shape.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from math import prod
from typing import Any

import numpy as np

from convkit import functional as F
from convkit import nn
from convkit.data.augment import Augmentation
from convkit.errors import integer, is_listing, require, said
from convkit.models import REGISTRY
from convkit.optim import SGD, Optimizer
from convkit.optim.optimizers import BY_NAME
from convkit.seeding import seeded
from convkit.train import Trainer

require("sklearn", "sklearn", "convkit.sklearn")

from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin  # noqa: E402
from sklearn.utils import check_random_state  # noqa: E402
from sklearn.utils.multiclass import check_classification_targets  # noqa: E402
from sklearn.utils.validation import check_is_fitted, validate_data  # noqa: E402

__all__ = ["ConvClassifier", "ConvRegressor"]

Network = Callable[[tuple[int, ...], int], nn.Module]

_CONVOLUTIONS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}  # by the number of spatial axes
_POOLINGS = {1: nn.MaxPool1d, 2: nn.MaxPool2d, 3: nn.MaxPool3d}
_DTYPES = (np.float32, np.uint8)  # that X keeps; all others become the first
_SMALLEST_POOLED = 8  # positions along an axis
_PREDICTED_TOGETHER = 256
_LARGEST_TARGET = 1e300  # beyond, what is predicted might be infinite; its inverse is the smallest deviation


class _ConvEstimator(BaseEstimator):
    """What classifier and regressor share: parameters, the shape of the input, training."""

    def __init__(
        self,
        network: str | Network | None = None,
        *,
        width: int = 16,
        image_shape: tuple[int, ...] | None = None,
        epochs: int = 20,
        batch_size: int = 32,
        learning_rate: float | Callable[[int], float] = 1e-3,
        optimizer: str | Callable[..., Optimizer] = "adam",
        augment: Sequence[Augmentation] | None = None,
        random_state: int | np.random.RandomState | None = None,
        verbose: int = 0,
    ) -> None:
        self.network = network
        self.width = width
        self.image_shape = image_shape
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.optimizer = optimizer
        self.augment = augment
        self.random_state = random_state
        self.verbose = verbose

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        return tags

    def _train(self, rows: np.ndarray, targets: np.ndarray, outputs: int) -> None:
        """Build a network of so many outputs and train it, leaving the process-wide generators as they are."""
        seed = int(check_random_state(self.random_state).randint(np.iinfo(np.int32).max))
        with seeded(seed):
            network = self._build(outputs)
        trainer = Trainer(network, self._loss(), self._optimizer())
        self.history_ = trainer.fit(
            (self._images(rows), targets),
            epochs=self.epochs,
            batch_size=self.batch_size,
            seed=seed,
            augment=() if self.augment is None else self.augment,
            verbose=self.verbose,
        )
        self.network_ = network
        if self.history_.interrupted:
            raise KeyboardInterrupt  # so that a search over many fits ends, too

    def _outputs(self, X: Any) -> np.ndarray:
        """What the network returns for X, float32 (n, outputs)."""
        check_is_fitted(self)
        images = self._images(self._rows(X))
        predicted: np.ndarray = Trainer(self.network_, nn.MSELoss(), SGD(0.0)).predict(images, _PREDICTED_TOGETHER)
        return predicted

    # --- the input -------------------------------------------------------------------------------------------

    def _learnt(self, X: Any, y: Any, **checks: Any) -> tuple[np.ndarray, np.ndarray]:
        """X as rows and y, both checked; the shape of one image is learnt, from the parameter or from X."""
        rows, y = validate_data(self, _flat(X), y, dtype=_DTYPES, **checks)
        given = getattr(X, "shape", rows.shape)[1:] if self.image_shape is None else self.image_shape
        self.image_shape_ = _with_channels(self._name(), given)
        if prod(self.image_shape_) != rows.shape[1]:
            raise ValueError(
                f"{self._name()}: images of shape {self.image_shape_} have {prod(self.image_shape_)} values, "
                f"but X has {rows.shape[1]} for each sample"
            )
        self._check_shape(X)
        return rows, y

    def _rows(self, X: Any) -> np.ndarray:
        """X as rows, checked to be like what was learnt from."""
        rows: np.ndarray = validate_data(self, _flat(X), dtype=_DTYPES, reset=False)
        self._check_shape(X)
        return rows

    def _check_shape(self, X: Any) -> None:
        """Refuse arrays of images of another shape than the network sees."""
        shape = tuple(getattr(X, "shape", ())[1:])
        if len(shape) > 1 and _channels_first(shape) != self.image_shape_:
            raise ValueError(
                f"X has images of shape {shape}, but {self._name()} is expecting images of shape "
                f"{self.image_shape_} as input"
            )

    def _images(self, rows: np.ndarray) -> np.ndarray:
        return rows.reshape(len(rows), *self.image_shape_)

    # --- the network and how it learns -----------------------------------------------------------------------

    def _build(self, outputs: int) -> nn.Module:
        if self.network is None:
            model = _small_network(self.image_shape_, outputs, integer(self._name(), "width", self.width, 1))
        elif callable(self.network) and not isinstance(self.network, nn.Module):
            model = self.network(self.image_shape_, outputs)
        else:
            entry = REGISTRY[self._one_of("network", self.network, REGISTRY)]
            model = entry.build_for(self.image_shape_, outputs, auxiliary=False)
        if not isinstance(model, nn.Module):
            raise TypeError(f"{self._name()}: network must build a Module, not {type(model).__name__}")
        returned = np.shape(model(np.zeros((1, *self.image_shape_), np.float32)))
        if returned != (1, outputs):
            raise ValueError(
                f"{self._name()}: network must return outputs of shape (n, {outputs}) for images of shape "
                f"{self.image_shape_}, not (n, {', '.join(map(str, returned[1:]))})"
            )
        return model

    def _optimizer(self) -> Optimizer:
        rule = self.optimizer
        if not callable(rule):
            rule = BY_NAME[self._one_of("optimizer", rule, BY_NAME)]
        return rule(self.learning_rate)

    def _one_of(self, argument: str, value: Any, known: Iterable[str]) -> str:
        """A value that is no function, if it is one of the names known, else raise."""
        if isinstance(value, str) and value in known:
            return value
        expected = f"a function or one of {', '.join(known)}"
        raise ValueError(f"{self._name()}: {argument} must be {expected}, not {said(value)}")

    def _loss(self) -> Callable[..., Any]:
        raise NotImplementedError

    def _name(self) -> str:
        return type(self).__name__


class ConvClassifier(ClassifierMixin, _ConvEstimator):
    """A convolutional network as a classifier of scikit-learn.

    It is trained with the cross-entropy of its outputs, and by default small: two convolutions with 3 positions along
    each axis and rectifiers, pooling behind each where an axis has 8 positions and more, and a dense layer.

    Parameters
    ----------
    network : str or callable, optional
        A network of `convkit.models` by its name, without its auxiliary classifiers; or a function that builds a
        Module from the shape of one image and the number of outputs (for searches in several processes one that can
        be pickled). Its outputs are logits (n, classes).
    width : int
        Maps of the default network's first convolution; its second has twice as many.
    image_shape : tuple of int, optional
        The shape of the images that are the rows of X: (C, H, W) or (H, W); (C, D, H, W) for volumes and (L,) for
        signals. By default that of X, of which (n, features) are signals of one channel.
    epochs : int
        How often all of X is gone through.
    batch_size : int
        Samples in one update.
    learning_rate : float or Schedule
        The rate, or a schedule of `convkit.optim`.
    optimizer : str or callable
        "adam", "adamw", "rmsprop", "sgd", "momentum" or "nesterov"; or a function from the learning rate to an
        optimiser, such as ``functools.partial(optim.AdamW, weight_decay=0.1)``.
    augment : sequence of callable, optional
        What is done to training images at random, such as ``[data.RandomShift(2)]``; images of (C, H, W) only.
    random_state : int or numpy.random.RandomState, optional
        What weights, the order of samples, dropout and augmentation are drawn from; by default from NumPy's global
        state, as everywhere in scikit-learn.
    verbose : int
        As for `Trainer.fit`: 0, 1 or 2.

    Attributes
    ----------
    classes_ : ndarray (classes,)
        The labels, sorted, of the dtype that y had.
    network_ : Module
        The trained network, which `convkit.save` writes.
    history_ : History
        The loss and accuracy of each epoch.
    image_shape_ : tuple of int
        The shape of one image as the network sees it, channels first.
    n_features_in_ : int
        The number of values in it.
    feature_names_in_ : ndarray of str
        The names of X's columns, where it had names.

    Examples
    --------
    >>> digits = sklearn.datasets.load_digits()
    >>> search = GridSearchCV(ConvClassifier(image_shape=(8, 8), random_state=0), {"width": [8, 16]})
    >>> search.fit(digits.data.astype("float32") / 16, digits.target)
    """

    def fit(self, X: Any, y: Any) -> ConvClassifier:
        """Train a new network.

        Parameters
        ----------
        X : array_like (n, features), (n, H, W) or (n, C, H, W)
            Samples; uint8 is scaled to [0, 1], all else taken as float32. Features of other kinds than pixels learn
            better when scaled, by a `StandardScaler` in a pipeline, for instance.
        y : array_like (n,)
            Their labels, of any dtype.

        Returns
        -------
        ConvClassifier
            The estimator itself.

        Raises
        ------
        TypeError, ValueError
            For parameters, X and y that cannot be, or do not fit each other.
        KeyboardInterrupt
            After Ctrl-C; the estimator then keeps what it has learnt.
        """
        rows, y = self._learnt(X, y)
        check_classification_targets(y)
        self.classes_, labels = np.unique(y, return_inverse=True)
        self._train(rows, labels, len(self.classes_))
        return self

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return the probability of each class.

        Parameters
        ----------
        X : array_like
            Samples, as for `fit`.

        Returns
        -------
        ndarray of float32 (n, classes)
            In the order of `classes_`.

        Raises
        ------
        ValueError
            For samples of another shape than in training, which may be flat rows, though.
        """
        probabilities: np.ndarray = F.softmax(self._outputs(X))
        return probabilities

    def predict(self, X: Any) -> np.ndarray:
        """Return the likeliest class of each sample.

        Parameters
        ----------
        X : array_like
            Samples, as for `fit`.

        Returns
        -------
        ndarray (n,)
            Labels, of the dtype of `classes_`.

        Raises
        ------
        ValueError
            As `predict_proba`.
        """
        likeliest = self._outputs(X).argmax(axis=1)
        labels: np.ndarray = self.classes_[likeliest]
        return labels

    def _loss(self) -> Callable[..., Any]:
        """The cross-entropy, or what a network of `convkit.models` is trained with."""
        return REGISTRY[self.network].loss() if isinstance(self.network, str) else nn.CrossEntropyLoss()


class ConvRegressor(RegressorMixin, _ConvEstimator):
    """A convolutional network as a regressor of scikit-learn.

    It is trained with the mean squared error. What it learns are targets less their mean over their standard deviation,
    so that learning does not depend on their unit. All else is as for `ConvClassifier`.

    Parameters
    ----------
    network : str or callable, optional
        As for `ConvClassifier`; its outputs are the targets (n, outputs).
    width, image_shape, epochs, batch_size, learning_rate, optimizer, augment, random_state, verbose
        As for `ConvClassifier`.

    Attributes
    ----------
    target_mean_, target_scale_ : ndarray (outputs,)
        Mean and standard deviation of the targets in training (1 for targets that are all the same).
    network_, history_, image_shape_, n_features_in_, feature_names_in_
        As for `ConvClassifier`.

    Examples
    --------
    >>> regressor = make_pipeline(StandardScaler(), ConvRegressor(epochs=50, random_state=0))
    >>> regressor.fit(signals, temperatures).score(others, theirs)
    """

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def fit(self, X: Any, y: Any) -> ConvRegressor:
        """Train a new network.

        Parameters
        ----------
        X : array_like (n, features), (n, H, W) or (n, C, H, W)
            Samples; uint8 is scaled to [0, 1], all else taken as float32.
        y : array_like of numbers, (n,) or (n, outputs)
            Their targets, up to 1e300; those of an output are all the same or vary by 1e-300 or more.

        Returns
        -------
        ConvRegressor
            The estimator itself.

        Raises
        ------
        TypeError, ValueError
            For parameters, X and y that cannot be, or do not fit each other.
        KeyboardInterrupt
            After Ctrl-C; the estimator then keeps what it has learnt.
        """
        rows, y = self._learnt(X, y, multi_output=True, y_numeric=True)
        self._one_target = y.ndim == 1
        with np.errstate(over="ignore"):  # what is infinite is refused next
            targets = y.reshape(len(y), -1).astype(np.float64)
        scaled, self.target_mean_, self.target_scale_ = _standardized(self._name(), targets)
        self._train(rows, scaled.astype(np.float32), targets.shape[1])
        return self

    def predict(self, X: Any) -> np.ndarray:
        """Return the targets of samples.

        Parameters
        ----------
        X : array_like
            Samples, as for `fit`.

        Returns
        -------
        ndarray of float64 (n,) or (n, outputs)
            As y was.

        Raises
        ------
        ValueError
            For samples of another shape than in training, which may be flat rows, though.
        """
        targets = self._outputs(X) * self.target_scale_ + self.target_mean_
        return targets[:, 0] if self._one_target else targets

    def _loss(self) -> Callable[..., Any]:
        return nn.MSELoss()


def _flat(X: Any) -> Any:
    """Arrays of images as rows (n, features); all else, data frames and lists among it, as it is."""
    shape: tuple[int, ...] = getattr(X, "shape", ())
    return np.asarray(X).reshape(shape[0], prod(shape[1:])) if len(shape) > 2 else X


def _with_channels(function: str, shape: Any) -> tuple[int, ...]:
    """The shape of one image with its channels: (L,) and (H, W) have one, others name them."""
    expected = f"{function}: image_shape must be (L,), (H, W), (C, H, W) or (C, D, H, W)"
    if not is_listing(shape):
        raise TypeError(f"{expected}, not {said(shape)}")
    sizes = tuple(integer(function, "image_shape", size, 1) for size in shape)
    if not 1 <= len(sizes) <= 4:
        raise ValueError(f"{expected}, not {sizes}")
    return _channels_first(sizes)


def _channels_first(shape: tuple[int, ...]) -> tuple[int, ...]:
    return shape if len(shape) > 2 else (1, *shape)


def _standardized(function: str, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Targets (n, outputs) less their mean over their standard deviation, and both; that is 1 for targets all the same.

    Columns are divided by a power of two and taken relative to their first target, so that no square is too large or
    too small for float64, and targets that are all the same are exactly 0.
    """
    largest = np.abs(targets).max(axis=0)
    if not (largest <= _LARGEST_TARGET).all():
        raise ValueError(f"{function}: y must be of numbers up to {_LARGEST_TARGET:g}, not {largest.max():g}")
    exponents = np.frexp(largest)[1]
    units = np.ldexp(targets, -exponents)
    apart = units - units[0]
    mean, deviation = apart.mean(axis=0), apart.std(axis=0)
    scale = np.where(deviation > 0, np.ldexp(deviation, exponents), 1.0)
    if not (scale >= 1 / _LARGEST_TARGET).all():
        expected = f"vary by at least {1 / _LARGEST_TARGET:g} or not at all"
        raise ValueError(f"{function}: y must {expected}, not with a standard deviation of {scale.min():g}")
    scaled = (apart - mean) / np.where(deviation > 0, deviation, 1.0)
    return scaled, np.ldexp(units[0] + mean, exponents), scale


def _small_network(shape: tuple[int, ...], outputs: int, width: int) -> nn.Module:
    """Two convolutions with their rectifiers, pooled where there is something to pool, and a dense layer."""
    channels, *size = shape
    layers: list[nn.Module] = []
    for maps in (width, 2 * width):
        layers += [_CONVOLUTIONS[len(size)](channels, maps, 3, padding=1), nn.ReLU()]
        if min(size) >= _SMALLEST_POOLED:
            layers.append(_POOLINGS[len(size)](2))
            size = [length // 2 for length in size]
        channels = maps
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(channels * prod(size), outputs))
