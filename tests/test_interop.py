"""Weights of other libraries without these: stand-ins have the few methods that `convkit.interop` calls.

What PyTorch and Keras themselves make of it is tested in tests/pytorch and tests/keras_models.
"""

from __future__ import annotations

import subprocess
import sys
import warnings
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from convkit import functional as F
from convkit import interop, models, nn

RNG = np.random.default_rng(5)


def random(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def test_nothing_is_imported_but_numpy() -> None:
    script = (
        "import sys, convkit.interop; print({'torch', 'keras', 'tensorflow', 'safetensors'} & sys.modules.keys() or '')"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


# --- PyTorch ------------------------------------------------------------------------------------------------


class Tensor:
    """An array with the methods of a tensor that are called."""

    def __init__(self, values: Any, dtype: str = "torch.float32") -> None:
        self.values = np.asarray(values)
        self.shape = self.values.shape
        self.dtype = dtype

    def detach(self) -> Tensor:
        return self

    cpu = detach

    def float(self) -> Tensor:
        return Tensor(self.values.astype(np.float32))

    def new_tensor(self, values: np.ndarray) -> Tensor:
        assert type(values) is np.ndarray
        return Tensor(values.astype(self.values.dtype), self.dtype)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if self.dtype == "torch.bfloat16":
            raise TypeError("Got unsupported ScalarType BFloat16")
        return self.values


class TorchModule:
    def __init__(self, state: dict[str, Tensor]) -> None:
        self.state = state

    def state_dict(self) -> dict[str, Tensor]:
        return dict(self.state)

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        assert state.keys() == self.state.keys()
        self.state = state


TorchModule.__module__, TorchModule.__name__ = "torch.nn.modules.module", "Module"


def module_like(model: nn.Module, prefix: str = "") -> TorchModule:
    return TorchModule({prefix + name: Tensor(random(*owned.shape)) for name, owned in model.named_state().items()})


@pytest.mark.parametrize("match", ["name", "order"])
def test_weights_move_to_a_module_and_back(match: str) -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 3))
    module = module_like(model, "" if match == "name" else "outer.")
    expected = {name: tensor.values for name, tensor in module.state.items()}
    interop.torch.from_torch(module, model, match=match)
    for (name, values), other in zip(model.named_state().items(), expected.values(), strict=True):
        np.testing.assert_array_equal(values.value, other, err_msg=name)
    module.state = {name: Tensor(np.zeros_like(values)) for name, values in expected.items()}
    interop.torch.to_torch(model, module, match=match)
    for name, tensor in module.state.items():
        np.testing.assert_array_equal(tensor.values, expected[name])
        assert not any(np.shares_memory(tensor.values, owned.data) for owned in model.named_state().values())


def test_bfloat16_is_widened() -> None:
    model, module = nn.Linear(2, 2), module_like(nn.Linear(2, 2))
    for tensor in module.state.values():
        tensor.dtype = "torch.bfloat16"
    interop.torch.from_torch(module, model)
    np.testing.assert_array_equal(model.weight.value, module.state["weight"].values)


def test_a_count_that_the_model_lacks_stays_in_the_module() -> None:
    module = module_like(nn.Linear(2, 2))
    module.state["num_batches_tracked"] = count = Tensor(np.array(5))
    interop.torch.to_torch(nn.Linear(2, 2), module)
    assert module.state["num_batches_tracked"] is count


def test_objects_that_are_no_modules_are_refused() -> None:
    model, module = nn.Linear(2, 2), module_like(nn.Linear(2, 2))
    for call, message in [
        (lambda: interop.torch.from_torch(model, model), "from_torch: module must be a torch Module, not convkit"),
        (lambda: interop.torch.from_torch({}, model), "from_torch: module must be a torch Module, not builtins.dict"),
        (lambda: interop.torch.to_torch(module, module), "to_torch: model must be a convkit Module, not"),
        (lambda: interop.keras.from_keras(module, model), "from_keras: network must be a keras Model, not torch.nn"),
        (lambda: interop.keras.to_keras(model, 3), "to_keras: network must be a keras Model, not builtins.int"),
    ]:
        with pytest.raises(TypeError, match=f"^{message}"):
            call()


def replaced(name: Any, values: Any) -> dict[Any, Any]:
    """The state of a module, with one array more or another one."""
    return {**module_like(nn.Linear(2, 2)).state, name: values}


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (None, "state must be a mapping of names to arrays, not None"),
        ([("weight", Tensor(np.ones((2, 2))))], "state must be a mapping of names to arrays, not "),
        (replaced(3, Tensor(np.ones(2))), "names in state must be strings, not 3"),
        (replaced(None, Tensor(np.ones(2))), "names in state must be strings, not None"),
        (replaced("bias", np.ones(2)), "bias must be a tensor, not ndarray"),
        (replaced("_extra_state", {"of": "mine"}), "_extra_state must be a tensor, not dict"),
    ],
    ids=lambda value: value[:20] if isinstance(value, str) else "",
)
@pytest.mark.parametrize("match", ["name", "order"])
def test_states_of_modules_that_are_none_are_refused(state: Any, message: str, match: str) -> None:
    model, module = nn.Linear(2, 2), module_like(nn.Linear(2, 2))
    module.state_dict = lambda: state  # type: ignore[method-assign]
    before, theirs = model.state_dict(), dict(module.state)
    with pytest.raises(TypeError, match=f"^from_torch: {message}"):
        interop.torch.from_torch(module, model, match=match)
    with pytest.raises(TypeError, match=f"^to_torch: {message}"):
        interop.torch.to_torch(model, module, match=match)
    assert module.state == theirs
    for name, values in model.state_dict().items():
        np.testing.assert_array_equal(values, before[name])


# --- Keras --------------------------------------------------------------------------------------------------


class Layer:
    """A layer of Keras with its weights, called on a symbolic tensor."""

    def __init__(self, given: Any, shape: tuple[Any, ...], **arrays: np.ndarray) -> None:
        self.name = type(self).__name__.lower()
        self.arrays = arrays
        self.input = given
        self.output = SimpleNamespace(shape=shape, _keras_history=(self, 0, 0))

    @property
    def weights(self) -> list[Any]:
        return [SimpleNamespace(name=f"{self.name}/{name}:0") for name in self.arrays]

    def get_weights(self) -> list[np.ndarray]:
        return [values.copy() for values in self.arrays.values()]

    def set_weights(self, weights: list[np.ndarray]) -> None:
        self.arrays = dict(zip(self.arrays, weights, strict=True))


class InputLayer(Layer):
    pass


class Conv2D(Layer):
    pass


class Flatten(Layer):
    data_format = "channels_last"


class Dense(Layer):
    pass


class KerasModel:
    """A convolution, flattened, and a dense layer."""

    name = "network"

    def __init__(self) -> None:
        begin = InputLayer(None, (None, 6, 5, 2))
        self.conv = Conv2D(begin.output, (None, 4, 4, 3), kernel=random(3, 2, 2, 3), bias=random(3))
        self.flat = Flatten(self.conv.output, (None, 48))
        self.dense = Dense(self.flat.output, (None, 4), kernel=random(48, 4), bias=random(4))
        self.layers = [begin, self.conv, self.flat, self.dense]
        self.inputs = [begin.output]


KerasModel.__module__, KerasModel.__name__ = "keras.src.models.model", "Model"


def test_weights_move_from_keras_with_channels_last_and_back() -> None:
    network, model = KerasModel(), nn.Sequential(nn.Conv2d(2, 3, (3, 2)), nn.Flatten(), nn.Linear(48, 4))
    interop.keras.from_keras(network, model)
    x = random(2, 2, 6, 5)
    maps = F.conv2d(x, model[0].weight.value, model[0].bias.value)
    channels_last = np.moveaxis(maps, 1, -1).reshape(2, 48)
    expected = channels_last @ network.dense.arrays["kernel"] + network.dense.arrays["bias"]
    np.testing.assert_allclose(model(x), expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(model[0].weight.value[2, 1, 0, 1], network.conv.arrays["kernel"][0, 1, 1, 2])
    before = [layer.get_weights() for layer in network.layers]
    for layer in network.layers:
        layer.set_weights([np.zeros_like(values) for values in layer.get_weights()])
    interop.keras.to_keras(model, network)
    for layer, weights in zip(network.layers, before, strict=True):
        for values, old in zip(layer.get_weights(), weights, strict=True):
            np.testing.assert_array_equal(values, old)


def test_keras_layers_that_do_not_fit_change_nothing() -> None:
    network = KerasModel()
    model = nn.Sequential(nn.Conv2d(2, 3, (3, 2)), nn.Flatten(), nn.Linear(48, 5))
    before = model.state_dict()
    message = (
        r"dense \(Dense: kernel \(48, 4\), bias \(4,\)\) and 2 \(Linear: weight \(5, 48\), bias \(5,\)\) do not fit$"
    )
    with pytest.raises(ValueError, match=f"^from_keras: {message}"):
        interop.keras.from_keras(network, model)
    for name, values in model.state_dict().items():
        np.testing.assert_array_equal(values, before[name])
    with pytest.raises(ValueError, match=r"^from_keras: conv2d \(.*\) and conv1 \(.*\) do not fit$"):
        interop.keras.from_keras(network, models.resnet20())


@pytest.fixture
def keras_pair() -> tuple[KerasModel, nn.Module]:
    return KerasModel(), nn.Sequential(nn.Conv2d(2, 3, (3, 2)), nn.Flatten(), nn.Linear(48, 4))


def refused(pair: tuple[KerasModel, nn.Module], error: type[Exception], message: str, back: bool = True) -> None:
    """Both functions raise, and neither network is changed."""
    network, model = pair
    before, theirs = model.state_dict(), [dict(layer.arrays) for layer in network.layers if isinstance(layer, Layer)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(error, match=f"^from_keras: {message}"):
            interop.keras.from_keras(network, model)
        if back:
            with pytest.raises(error, match=f"^to_keras: {message}"):
                interop.keras.to_keras(model, network)
    assert [layer.arrays for layer in network.layers if isinstance(layer, Layer)] == theirs
    for name, values in model.state_dict().items():
        np.testing.assert_array_equal(values, before[name])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.full(4, 1e300), "that float32 can hold, up to 3.4e"),
        (np.full(4, 1 + 1j), "that float32 can hold, not complex128"),
        (np.full(4, None), "that float32 can hold, not object"),
        (np.full(4, "1"), "that float32 can hold, not <U1"),
    ],
    ids=["large", "complex", "object", "text"],
)
def test_numbers_of_keras_that_a_dtype_cannot_hold(
    keras_pair: tuple[KerasModel, nn.Module], values: np.ndarray, message: str
) -> None:
    keras_pair[0].dense.arrays["bias"] = values
    refused(keras_pair, TypeError, f"bias of dense must be of numbers {message}", back=False)


def test_numbers_of_keras_that_a_dtype_can_hold(keras_pair: tuple[KerasModel, nn.Module]) -> None:
    network, model = keras_pair
    values = np.array([np.inf, np.nan, 1e-320, 3.0])
    network.dense.arrays["bias"] = values
    interop.keras.from_keras(network, model)
    np.testing.assert_array_equal(model[2].bias.value, values.astype(np.float32))


@pytest.mark.parametrize("shape", [(), (4,), (3, 3), (3, 2, 2, 3, 1)], ids=str)
@pytest.mark.parametrize("layer", ["conv", "dense"])
def test_kernels_of_keras_of_another_rank(
    keras_pair: tuple[KerasModel, nn.Module], layer: str, shape: tuple[int, ...]
) -> None:
    getattr(keras_pair[0], layer).arrays["kernel"] = random(*shape) if shape else np.float32(1)
    refused(keras_pair, ValueError, rf"{layer}.* \({layer.capitalize()}.* do not fit$")


def test_a_dense_kernel_of_keras_with_one_axis_more(keras_pair: tuple[KerasModel, nn.Module]) -> None:
    keras_pair[0].dense.arrays["kernel"] = random(48, 4, 1)
    refused(keras_pair, ValueError, r"dense \(Dense: kernel \(48, 4, 1\).* do not fit$")


def named(*names: Any) -> property:
    return property(lambda layer: [SimpleNamespace(name=name) for name in names])


DIFFERENT = r"dense \(Dense: .*\) must have weights of different names, and one array for each$"


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"weights": named("dense/kernel:0", "dense/kernel:0")}, DIFFERENT),
        ({"weights": named("kernel", None)}, DIFFERENT),
        ({"weights": named("kernel", "bias", "more")}, DIFFERENT),
        ({"weights": named("kernel")}, DIFFERENT),
        ({"weights": named("kernel", 3)}, r"dense .* and 2 .* do not fit: convkit has no 3$"),
        ({"get_weights": lambda layer: []}, DIFFERENT),
        ({"get_weights": lambda layer: [random(48, 4)]}, DIFFERENT),
        ({"get_weights": lambda layer: [random(48, 4), random(4), random(4)]}, DIFFERENT),
    ],
    ids=["twice", "None", "more", "fewer", "number", "no arrays", "fewer arrays", "more arrays"],
)
def test_weights_of_keras_must_be_told_apart(
    keras_pair: tuple[KerasModel, nn.Module], changed: dict[str, Any], message: str
) -> None:
    dense = keras_pair[0].dense
    dense.__class__ = type("Dense", (Dense,), changed)
    refused(keras_pair, ValueError, message)


def test_a_keras_model_that_holds_itself(keras_pair: tuple[KerasModel, nn.Module]) -> None:
    network = keras_pair[0]
    network.layers.append(SimpleNamespace(name="inner", layers=[network]))
    refused(keras_pair, ValueError, "network must not hold itself$")
