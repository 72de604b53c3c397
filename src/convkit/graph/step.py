"""Training: the gradient of a loss, and a whole planned step with the optimiser's update."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from convkit._kernels import update as kernels
from convkit.errors import FLOATS, flag, held, integer, number, real, said, shape, view
from convkit.graph.differentiate import differentiate
from convkit.graph.diverged import Diverged, first_not_finite
from convkit.graph.memory import ALIGNMENT, aligned_empty
from convkit.graph.plan import Plan, PlanCache, spec_of
from convkit.graph.rewrite import reorder
from convkit.graph.symbols import Graph, Symbol
from convkit.graph.trace import symbols_of, target_input, trace
from convkit.ops.base import Spec
from convkit.parameter import Parameter, structure

if TYPE_CHECKING:
    from convkit.nn.module import Module
    from convkit.optim import Optimizer

LossFunction = Callable[..., Any]

# The slot that says how far the average of the weights lags behind them: zero at first, for parameters thawed later
# too.  With w ← w + Δ and average ← d · average + (1 - d) · w, the lag follows lag ← d · (lag + Δ).
LAG = "ema_lag"


@dataclass
class LossGraph:
    """The traced pass of a model with its loss."""

    graph: Graph
    loss: Symbol
    outputs: tuple[Symbol, ...]
    inputs: tuple[Symbol, ...]
    several: bool


def _trace_loss(
    model: Module, loss_fn: LossFunction, specs: Sequence[Spec], n_inputs: int, training: bool = True
) -> LossGraph:
    model_results: list[Any] = []

    def forward(*operands: Any) -> Any:
        model_results.append((operands[:n_inputs], model(*operands[:n_inputs])))
        return loss_fn(model_results[0][1], *operands[n_inputs:])

    graph, loss = trace(forward, specs, model.dtype_for(specs[:n_inputs]), training)
    name = getattr(loss_fn, "__name__", type(loss_fn).__name__)
    loss_symbol, *others = symbols_of(name, loss)
    if others:
        raise ValueError(f"{name}: a loss must be one number, of shape (), not {1 + len(others)} of them")
    if loss_symbol.shape != ():
        raise ValueError(f"{name}: a loss must be one number, of shape (), not of shape {loss_symbol.shape}")
    inputs, result = model_results[0]
    outputs = symbols_of(f"{type(model).__name__}.forward", result)
    reorder(graph, [loss_symbol, *outputs])
    return LossGraph(graph, loss_symbol, outputs, inputs, isinstance(result, (tuple, list)))


def _arrays(
    name: str, model: Module, dtype: np.dtype[Any] | None, x: Any, targets: Sequence[Any]
) -> tuple[list[np.ndarray], int]:
    """What a batch is computed from, in `dtype` or else in what the model has for it; and how many are inputs."""
    inputs = [view(name, "inputs", values) for values in (x if isinstance(x, tuple) else (x,))]
    wanted = model.dtype_for(inputs) if dtype is None else dtype
    arrays = [model.input_array(name, position, values, wanted) for position, values in enumerate(inputs)]
    return arrays + [target_input(name, values, wanted) for values in targets], len(inputs)


def value_and_grad(
    model: Module, loss_fn: LossFunction, inputs: bool = False, *, seed: int = 0, training: bool = True
) -> Callable[..., Any]:
    """A function that computes a loss and its gradients to the model's parameters.

    Parameters
    ----------
    model : Module
    loss_fn : callable
        ``loss_fn(outputs, *targets)`` of what the model returns; traced, so built of convkit's functions. Attributes
        of convkit's losses may be changed at any time; what a function, or a class not derived from these, reads beside
        its arguments is read when it is traced.
    inputs : bool
        Also return the gradient to the model's input (saliency, adversarial examples).
    seed : int
        Decides, with the number of the call, what dropout draws.
    training : bool
        False differentiates what the model does in inference: without dropout, and with the running moments of a
        normalisation, which stay as they are.

    Returns
    -------
    callable
        ``f(x, *targets) -> (loss, grads)``, or ``(loss, grads, grad_x)`` with `inputs`: the loss a float,
        ``grads`` a dict of arrays by the names of the trainable parameters.  A model with several inputs takes
        them as a tuple `x`, and ``grad_x`` is then a tuple.

    Raises
    ------
    NotImplementedError
        When called, where the loss depends on parameters through what has no gradient: targets, class weights,
        running moments.
    """
    _check_traceable("value_and_grad", model, loss_fn)
    inputs, training = flag("value_and_grad", "inputs", inputs), flag("value_and_grad", "training", training)
    seed = integer("value_and_grad", "seed", seed, 0)
    cache = PlanCache(model)
    calls = count()

    def evaluate(x: Any, *targets: Any) -> Any:
        arrays, n_inputs = _arrays("value_and_grad", model, None, x, targets)
        parameters = {name: p for name, p in model.parameters().items() if p.trainable}
        specs = [spec_of(array) for array in arrays]

        def make() -> Plan:
            traced = _trace_loss(model, loss_fn, specs, n_inputs, training)
            wrt = [traced.graph.leaf(p) for p in parameters.values()]
            wanted = [*wrt, *traced.inputs] if inputs else wrt
            smooth = [symbol for symbol in wanted if symbol.dtype in FLOATS]  # integers have no gradient
            found = dict(zip(smooth, differentiate(traced.graph, traced.loss, smooth), strict=True))
            gradients = [
                symbol if (symbol := found.get(of)) is not None else traced.graph.leaf(np.zeros(of.shape, of.dtype))
                for of in wanted
            ]
            return Plan(traced.graph, [traced.loss, *gradients])

        key = (tuple(specs), n_inputs)
        _, (loss, *gradients) = cache.run(key, make, arrays, seed, next(calls))
        grads = dict(zip(parameters, gradients, strict=False))
        if not inputs:
            return float(loss), grads
        grad_inputs = tuple(gradients[len(parameters) :])
        return float(loss), grads, grad_inputs if isinstance(x, tuple) else grad_inputs[0]

    return evaluate


@dataclass
class Segment:
    """Parameters that are updated together: one stretch of memory, one learning rate, one weight decay."""

    values: np.ndarray
    grads: np.ndarray
    slots: dict[str, np.ndarray]
    lr_scale: float
    weight_decay: float
    members: dict[str, tuple[Parameter, int]]  # by name, with the offset of their values

    def is_in_place(self) -> bool:
        """Whether the parameters still live in this segment's memory."""
        return all(
            parameter.data.dtype == self.values.dtype
            and parameter.data.ctypes.data == self.values.ctypes.data + start * self.values.itemsize
            for parameter, start in self.members.values()
        )

    def slot_of(self, slot: str, name: str) -> np.ndarray:
        """The part of an optimiser's slot that belongs to one parameter."""
        return self.part(self.slots[slot], name)

    def grad_of(self, name: str) -> np.ndarray:
        return self.part(self.grads, name)

    def part(self, flat: np.ndarray, name: str) -> np.ndarray:
        """The part of an array laid out as the segment that belongs to one parameter."""
        parameter, start = self.members[name]
        return flat[start : start + parameter.size].reshape(parameter.shape)


class CompiledStep:
    """One planned training step: forward, backward and the optimiser's update.  Made by `compile_step`.

    Attributes
    ----------
    model : Module
        What is trained.
    optimizer : Optimizer
        The rule of the update.
    seed : int
        Decides, with the number of the call, what dropout draws.
    count : int
        Updates done; with `accumulate` fewer than calls.
    outputs : array, tuple of arrays or None
        What the model returned for the last batch, before the update; None unless made with ``outputs=True``.
    averaging : bool
        Whether the model has its averages, see `averaged`.
    """

    def __init__(
        self,
        model: Module,
        loss_fn: LossFunction,
        optimizer: Optimizer,
        outputs: bool,
        clip_norm: float | None,
        clip_value: float | None,
        ema_decay: float | None,
        accumulate: int,
        seed: int,
        check_finite: bool,
    ) -> None:
        self.model = model
        self.optimizer = optimizer
        self.loss_fn = loss_fn
        self.seed = seed
        self.count = 0
        self.outputs: Any = None
        self._keep_outputs = outputs
        self._clip_norm = clip_norm
        self._clip_value = clip_value
        self._ema_decay = ema_decay
        self._accumulate = accumulate
        self._check_finite = check_finite
        self._calls = 0
        self.averaging = False
        self._cache = PlanCache(model)
        optimizer.check_groups(model.parameters())
        self._segments = self._make_segments()
        self._sums = self._zero_sums()
        self._version = structure.version

    def __reduce__(self) -> NoReturn:
        raise TypeError("a CompiledStep is not copied or pickled: its model is, and what its state_dict() gives")

    # --- parameters in flat memory ---------------------------------------------------------------------------

    def _rule(self) -> tuple[Any, ...]:
        """What of the optimiser decides how segments are laid out."""
        return self.optimizer.weight_decay, self.optimizer.groups, self.optimizer.slots

    def _make_segments(self) -> list[Segment]:
        self._dtype, self._laid_by = self.model.dtype, self._rule()
        trainable = self._trainable()
        grouped: dict[Any, dict[str, Parameter]] = {}
        for name, parameter in trainable.items():
            # A parameter that lives in another step's memory is updated where it is, on its own.
            alone = None if parameter.claim(self) else name
            grouped.setdefault((*self.optimizer.settings(name), alone), {})[name] = parameter
        segments = [
            self._segment(members, lr_scale, weight_decay, in_place=alone is not None)
            for (lr_scale, weight_decay, alone), members in grouped.items()
        ]
        grads = {name: segment.grad_of(name).reshape(-1) for segment in segments for name in segment.members}
        self._grads = [grads[name] for name in trainable]  # in the model's order, whatever the segments
        return segments

    def _trainable(self) -> dict[str, Parameter]:
        return {name: p for name, p in self.model.parameters().items() if p.trainable}

    def _follow_changes(self) -> None:
        """Lay the segments out anew where parameters were frozen, replaced, converted or moved away meanwhile, or the
        optimiser's decay.

        Slots of parameters that are still there keep their values.
        """
        same_rule = self._rule() == self._laid_by
        if same_rule and structure.version == self._version and self._cache.is_current():
            return
        in_place = all(segment.is_in_place() for segment in self._segments)
        if not (same_rule and in_place and self._laid_out() == self._trainable()):
            slots = self._present_slots()
            self._segments = self._make_segments()
            self._sums = self._zero_sums()
            self._restore_slots(slots)
            structure.bump()  # plans write to the gradients of before
        self._version = structure.version
        self._dtype = self.model.dtype

    def let_go(self) -> None:
        """Let another step move the parameters into its memory."""
        for parameter in self._laid_out().values():
            parameter.release(self)

    def _laid_out(self) -> dict[str, Parameter]:
        return {name: p for segment in self._segments for name, (p, _) in segment.members.items()}

    def _slot_names(self) -> tuple[str, ...]:
        return self.optimizer.slots if self._ema_decay is None else (*self.optimizer.slots, LAG)

    def _present_slots(self) -> dict[str, np.ndarray]:
        """The slots of all that is trained now: those of parameters that are still there, of others zeros."""
        laid_out, trainable = self._laid_out(), self._trainable()
        names = (*self._slot_names(), "accumulated") if self._accumulate > 1 else self._slot_names()
        present = {f"{slot}/{name}": np.zeros_like(p.data) for slot in names for name, p in trainable.items()}
        for key, values in self._slots().items():
            name = key.partition("/")[2]
            if laid_out[name] is trainable.get(name):
                present[key] = values
        return present

    def _segment(self, members: dict[str, Parameter], lr_scale: float, weight_decay: float, in_place: bool) -> Segment:
        dtype = self._dtype
        unit = ALIGNMENT // dtype.itemsize
        offsets, total = {}, 0
        for name, parameter in members.items():
            offsets[name] = (parameter, total)
            total += -(-parameter.size // unit) * unit

        def flat() -> np.ndarray:
            memory = aligned_empty(total * dtype.itemsize).view(dtype)
            memory.fill(0)
            return memory

        if in_place:
            [parameter] = members.values()
            values = parameter.data.reshape(-1)
            total = values.size
        else:
            values = flat()
            for parameter, start in offsets.values():
                parameter.place(values[start : start + parameter.size].reshape(parameter.shape))
        return Segment(values, flat(), {slot: flat() for slot in self._slot_names()}, lr_scale, weight_decay, offsets)

    # --- one step --------------------------------------------------------------------------------------------

    def __call__(self, x: Any, *targets: Any) -> float:
        """Train on one batch and return its loss (before the update)."""
        if self.averaging:
            raise RuntimeError(
                "step: the model has its averages, of which training would go on; leave `averaged` first"
            )
        self._follow_changes()
        arrays, n_inputs = _arrays("step", self.model, self._dtype, x, targets)
        specs = tuple(spec_of(array) for array in arrays)
        plan, (loss, *outputs) = self._cache.run(
            (specs, n_inputs), lambda: self._make_plan(specs, n_inputs), arrays, self.seed, self._calls
        )
        if self._check_finite and not self._is_finite(float(loss)):
            traced = _trace_loss(self.model, self.loss_fn, specs, n_inputs)
            first = first_not_finite(self.model, traced.graph, traced.loss, arrays, self.seed, self._calls)
            raise Diverged(f"step: the loss is {float(loss)}; the first that is not finite is {first}")
        self._calls += 1
        if self._keep_outputs:
            self.outputs = tuple(outputs) if plan.several else outputs[0]
        if self._accumulate == 1:
            self._update()
        else:
            self._add_up()
        return float(loss)

    def _make_plan(self, specs: tuple[Spec, ...], n_inputs: int) -> Plan:
        traced = _trace_loss(self.model, self.loss_fn, specs, n_inputs)
        targets = [
            (traced.graph.leaf(parameter), segment.grad_of(name))
            for segment in self._segments
            for name, (parameter, _) in segment.members.items()
        ]
        gradients = differentiate(traced.graph, traced.loss, [symbol for symbol, _ in targets])
        stored = [
            (gradient if gradient is not None else traced.graph.leaf(np.zeros_like(target)), target)
            for (_, target), gradient in zip(targets, gradients, strict=True)
        ]
        outputs = traced.outputs if self._keep_outputs else ()
        return Plan(traced.graph, [traced.loss, *outputs], stored, several=traced.several)

    def _is_finite(self, loss: float) -> bool:
        """Whether loss and gradient are finite. The mean over a batch of which no label counts is NaN, and harmless."""
        squares = sum(kernels.sum_of_squares(segment.grads) for segment in self._segments)
        if not math.isfinite(loss):
            return squares == 0
        return math.isfinite(squares) or all(np.isfinite(segment.grads).all() for segment in self._segments)

    def _zero_sums(self) -> list[np.ndarray]:
        return [np.zeros_like(segment.grads) for segment in self._segments] if self._accumulate > 1 else []

    def _add_up(self) -> None:
        for total, segment in zip(self._sums, self._segments, strict=True):
            total += segment.grads
        if self._calls % self._accumulate == 0:
            for total, segment in zip(self._sums, self._segments, strict=True):
                np.multiply(total, 1 / self._accumulate, out=segment.grads)
                total.fill(0)
            self._update()

    def _update(self) -> None:
        if self._clip_value is not None:
            for segment in self._segments:
                np.clip(segment.grads, -self._clip_value, self._clip_value, out=segment.grads)
        if self._clip_norm is not None:
            self._clip(self._clip_norm)
        lr = self.optimizer.rate(self.count)
        self.count += 1
        try:
            for segment in self._segments:
                self._update_segment(segment, lr)
        finally:
            structure.count_write()

    def _update_segment(self, segment: Segment, lr: float) -> None:
        if self._ema_decay is not None:
            segment.slots[LAG] -= segment.values
        try:
            self.optimizer.update(
                segment.values,
                segment.grads,
                segment.slots,
                lr=lr * segment.lr_scale,
                weight_decay=segment.weight_decay,
                count=self.count,
            )
        finally:
            if self._ema_decay is not None:
                segment.slots[LAG] += segment.values
                segment.slots[LAG] *= self._ema_decay

    def _clip(self, limit: float) -> None:
        norm = self._norm()
        if norm > limit:
            for segment in self._segments:
                kernels.scale(segment.grads, limit / norm)

    def _norm(self) -> float:
        """The Euclidean norm of the gradient, where squares would overflow, too; however segments are laid out."""
        norm = math.sqrt(sum(map(kernels.sum_of_squares, self._grads)))
        if norm < math.inf:
            return norm
        largest = max(float(np.abs(grad).max(initial=0)) for grad in self._grads)
        if not largest < math.inf:
            return norm
        return largest * math.sqrt(sum(float(np.square(grad / largest).sum()) for grad in self._grads))

    # --- averaged weights ------------------------------------------------------------------------------------

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Within a `with` block the model has the averages of its weights (of all updates, by `ema_decay`).

        Running moments and other buffers are not averaged.  The block is for evaluation and saving, not for training;
        another one within it changes nothing.

        Raises
        ------
        ValueError
            When the step was made without `ema_decay`.
        """
        if self._ema_decay is None:
            raise ValueError("averaged: no averages are kept; give ema_decay when the training begins")
        if self.averaging:
            yield
            return
        self._follow_changes()
        trained = [(p, p.value.copy()) for p in self._laid_out().values()]
        try:
            self.averaging = True
            for segment in self._segments:
                np.subtract(segment.values, segment.slots[LAG], out=segment.values)
            structure.count_write()
            yield
        finally:
            for parameter, values in trained:
                parameter.assign(values)
            self.averaging = False

    # --- state -----------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, np.ndarray]:
        """What the step remembers besides the model: the counts, and every slot of the optimiser by parameter."""
        return {"count": np.array(self.count), "calls": np.array(self._calls), **self._present_slots()}

    def _slots(self) -> dict[str, np.ndarray]:
        state = {}
        for segment in self._segments:
            for slot in segment.slots:
                state.update({f"{slot}/{name}": segment.slot_of(slot, name).copy() for name in segment.members})
        for total, segment in zip(self._sums, self._segments, strict=False):
            state.update({f"accumulated/{name}": segment.part(total, name).copy() for name in segment.members})
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` gave; nothing is changed unless everything fits."""
        if not isinstance(state, Mapping):
            raise TypeError(f"load_state_dict: state must be a mapping of names to arrays, not {said(state)}")
        expected = self.state_dict()
        if missing := sorted(expected.keys() - state.keys()):
            raise ValueError(f"load_state_dict: the state lacks {', '.join(missing)}")
        if unexpected := sorted(map(str, state.keys() - expected.keys())):
            raise ValueError(f"load_state_dict: the state has {', '.join(unexpected)}, which this step does not")
        arrays = {name: _slot_values(name, state[name], values) for name, values in expected.items()}
        count, calls = (integer("load_state_dict", name, arrays[name][()], 0) for name in ("count", "calls"))
        if count != calls // self._accumulate:
            raise ValueError(
                f"load_state_dict: the state is of {count} updates in {calls} calls, which accumulate="
                f"{self._accumulate} does not give"
            )
        self._follow_changes()
        self.count, self._calls = count, calls
        self._restore_slots(arrays)

    def _restore_slots(self, state: dict[str, np.ndarray]) -> None:
        for segment in self._segments:
            for slot in segment.slots:
                for name in segment.members:
                    segment.slot_of(slot, name)[...] = state[f"{slot}/{name}"]
        for total, segment in zip(self._sums, self._segments, strict=False):
            for name in segment.members:
                segment.part(total, name)[...] = state[f"accumulated/{name}"]


def _slot_values(name: str, values: Any, expected: np.ndarray) -> np.ndarray:
    """Values of a state for what has the shape and kind of `expected`."""
    array = view("load_state_dict", name, values)
    shape("load_state_dict", name, array, expected.shape)
    return held("load_state_dict", name, array, expected.dtype)


def _check_traceable(function: str, model: Any, loss_fn: Any) -> None:
    if not hasattr(model, "input_array"):
        raise TypeError(f"{function}: model must be a Module, not {said(model)}")
    if not callable(loss_fn):
        raise TypeError(f"{function}: loss_fn must be a function of outputs and targets, not {said(loss_fn)}")


def compile_step(
    model: Module,
    loss_fn: LossFunction,
    optimizer: Optimizer,
    *,
    outputs: bool = False,
    clip_norm: float | None = None,
    clip_value: float | None = None,
    ema_decay: float | None = None,
    accumulate: int = 1,
    seed: int = 0,
    check_finite: bool = False,
) -> CompiledStep:
    """Plan a training step: ``loss = step(x, *targets)``.

    The parameters move into flat memory of the step's, where one call updates them all.

    Parameters
    ----------
    model : Module
    loss_fn : callable
        ``loss_fn(outputs, *targets)``; traced with the model, as by `value_and_grad`.
    optimizer : Optimizer
    outputs : bool
        Keep what the model returned for the last batch in ``step.outputs``.
    clip_norm : float, optional
        Scale the gradient down to this Euclidean norm where it is longer.
    clip_value : float, optional
        First of all cut each entry of the gradient to at most this magnitude.
    ema_decay : float, optional
        Keep an exponential moving average of the weights, ``average ← d · average + (1 - d) · weights`` after each
        update with this d in [0, 1); ``with step.averaged():`` the model has it.
    accumulate : int
        Update once every so many calls, with the mean of their gradients.
    seed : int
        Decides, with the number of the call, what dropout draws.
    check_finite : bool
        Where the loss or its gradient is infinite or NaN, update no parameter and raise a FloatingPointError that
        names the layer in which that began. (Running moments have taken in the batch by then.)

    Returns
    -------
    CompiledStep
        ``step(x, *targets)`` returns the batch's loss as a float; `x` may be uint8 images, which are scaled to
        [0, 1], and a tuple where the model has several inputs.
    """
    where = "compile_step"
    _check_traceable(where, model, loss_fn)
    if not hasattr(optimizer, "check_groups"):
        raise TypeError(f"{where}: optimizer must be an Optimizer, not {said(optimizer)}")
    check_limits(where, clip_norm, clip_value, ema_decay, accumulate)
    integer(where, "seed", seed, 0)
    outputs, check_finite = flag(where, "outputs", outputs), flag(where, "check_finite", check_finite)
    return CompiledStep(
        model, loss_fn, optimizer, outputs, clip_norm, clip_value, ema_decay, accumulate, seed, check_finite
    )


def check_limits(
    where: str, clip_norm: float | None, clip_value: float | None, ema_decay: float | None, accumulate: int
) -> None:
    """Refuse what these cannot be."""
    integer(where, "accumulate", accumulate, 1)
    for name, limit in {"clip_norm": clip_norm, "clip_value": clip_value}.items():
        if limit is not None and not real(where, name, limit) > 0:
            raise ValueError(f"{where}: {name} must be positive, not {limit}")
    if ema_decay is not None:
        number(where, "ema_decay", ema_decay, below=1.0)
