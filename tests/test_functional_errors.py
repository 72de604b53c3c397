"""Arguments that make no sense: each an error that names function and argument, and none a crash."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from convkit import functional as F
from functional_calls import Call, calls


def call_named(name: str) -> Call:
    return next(call for call in calls() if call.name == name)


OF_ANY_SHAPE = {
    "add", "subtract", "multiply", "dropout_backward", "dropout2d_backward", "pad_backward", "interpolate_backward",
    "max_unpool1d_backward", "max_unpool2d_backward", "max_unpool3d_backward", "pixel_shuffle_backward",
    "pixel_unshuffle_backward",
}  # fmt: skip


def with_windows() -> list[Call]:
    return [call for call in calls() if "stride" in call.arguments]


# Messages -------------------------------------------------------------------------------------------


def test_wrong_channels_say_what_came_and_what_was_expected() -> None:
    x, weight = np.zeros((64, 1, 28, 28), np.float32), np.zeros((8, 3, 5, 5), np.float32)
    with pytest.raises(ValueError) as caught:
        F.conv2d(x, weight)
    assert str(caught.value) == (
        "conv2d: weight expects 3 input channels (shape (8, 3, 5, 5)) but x has 1 (shape (64, 1, 28, 28))"
    )


@pytest.mark.parametrize("call", with_windows(), ids=repr)
@pytest.mark.parametrize("value", [0, -1, -(2**63)])
def test_a_stride_below_one_is_refused(call: Call, value: int) -> None:
    with pytest.raises(ValueError, match=rf"^{call.name}: stride must be at least 1, not {value}"):
        call.with_(stride=value)()


@pytest.mark.parametrize("stride", [2**20, 2**31, 2**40, 2**62])
def test_a_stride_beyond_the_input_leaves_one_window(stride: int, run_apart: Callable[..., None]) -> None:
    """And costs no more memory or time than any other."""
    run_apart(
        f"""
        import numpy as np
        from convkit import functional as F
        stride = {stride}
        x, weight = np.arange(1.0, 10).reshape(1, 1, 9), np.ones((1, 1, 3))
        assert F.conv1d(x, weight, stride=stride, padding=1).tolist() == [[[3]]]
        assert F.conv_transpose1d(x[..., :1], weight, stride=stride).tolist() == [[[1, 1, 1]]]
        assert F.max_pool1d(x, 3, stride, 1).tolist() == [[[2]]]
        assert F.avg_pool1d(x, 3, stride, 1, ceil_mode=True, count_include_pad=False).tolist() == [[[1.5]]]
        assert F.im2col(x, 3, stride).tolist() == [[[1], [2], [3]]]
        assert F.col2im(x[:, :3, :1].reshape(1, 1, 1).repeat(3, 1), (9,), 3, stride).sum() == 3
        _, grad_weight, _ = F.conv1d_backward(np.ones((1, 1, 1)), x, weight, stride)
        assert grad_weight.tolist() == [[[1, 2, 3]]]
        """,
        gigabytes=1,
        seconds=30,
    )


@pytest.mark.parametrize("call", [c for c in calls() if "groups" in c.arguments], ids=repr)
@pytest.mark.parametrize("groups", [0, -1, 3, 2**62])
def test_groups_that_do_not_divide_the_channels(call: Call, groups: int) -> None:
    with pytest.raises(ValueError, match=rf"^{call.name}: .*(groups|channels)"):
        call.with_(groups=groups)()


@pytest.mark.parametrize("call", [c for c in calls() if "dilation" in c.arguments], ids=repr)
@pytest.mark.parametrize("dilation", [0, -1, 2**31, 2**32 + 1, 2**62, 2**63, 2**64 + 1])
def test_dilations_that_would_overflow(call: Call, dilation: int) -> None:
    """(k − 1)·d wraps around in machine integers; it must not come out as something that fits."""
    with pytest.raises((ValueError, MemoryError)):
        call.with_(dilation=dilation)()


@pytest.mark.parametrize("call", with_windows(), ids=repr)
def test_arguments_that_are_no_integers(call: Call) -> None:
    names = {"stride", "padding", "dilation", "groups", "output_padding"} & set(call.arguments)
    for name in names:
        for value in (1.5, None, "1", object(), True, np.float32(1)):
            if (name, value) == ("stride", None) and "pool" in call.name:
                continue  # the kernel size
            with pytest.raises((TypeError, ValueError), match=rf"^{call.name}: {name}"):
                call.with_(**{name: value})()


@pytest.mark.parametrize("call", with_windows(), ids=repr)
def test_a_wrong_number_of_axes(call: Call) -> None:
    names = {"kernel_size", "stride", "padding", "dilation", "output_padding"} & set(call.arguments)
    for name in names:
        for value in ((), (1, 1, 1, 1), ((1, 1),) * 4):
            with pytest.raises((TypeError, ValueError), match=rf"^{call.name}: {name}"):
                call.with_(**{name: value})()


@pytest.mark.parametrize("call", calls(), ids=repr)
def test_arrays_of_the_wrong_shape(call: Call) -> None:
    """One axis more or less, or an entry more where sizes must agree."""
    for name in call.float_arrays:
        array = call.arguments[name]
        wrong = [array[None]] if "_backward" in call.name or name != "x" else []
        if "grad" in name:
            wrong += [np.concatenate([array, array[..., :1]], -1), array[:1]]
        if name == "bias":
            wrong += [array[:-1], np.ones((), array.dtype)]
        for value in wrong:
            if call.name in OF_ANY_SHAPE:
                continue
            with pytest.raises(ValueError, match=rf"^{call.name}: "):
                call.with_(**{name: value})()


@pytest.mark.parametrize(
    "name", [f"{name}{rank}d" for name in ("conv", "max_pool", "avg_pool") for rank in (1, 2, 3)] + ["im2col"]
)
def test_a_window_larger_than_the_input_says_what_would_fit(name: str) -> None:
    """An output of size zero is refused, not returned."""
    call = call_named(name)
    narrow = call.arguments["x"][..., :1]
    changes: dict[str, Any] = {"x": narrow, "padding": 0}
    if "ceil_mode" in call.arguments:
        changes["ceil_mode"] = False
    if "kernel_size" in call.arguments:
        changes["kernel_size"] = 2
    if name == "conv1d":
        changes["weight"] = call.arguments["weight"][..., :2]
    with pytest.raises(ValueError, match=rf"^{name}: .*would fit"):
        call.with_(**changes)()


@pytest.mark.parametrize("call", with_windows(), ids=repr)
def test_an_input_without_pixels_is_refused(call: Call) -> None:
    if "x" not in call.arguments:
        pytest.skip("takes no input")
    with pytest.raises(ValueError, match=rf"^{call.name}: "):
        call.with_(x=call.arguments["x"][..., :0])()


@pytest.mark.parametrize("name", [f"{name}{rank}d" for name in ("conv", "conv_transpose") for rank in (1, 2, 3)])
def test_a_kernel_without_taps_is_refused(name: str) -> None:
    call = call_named(name)
    with pytest.raises(ValueError, match=rf"^{name}: .*(weight|kernel)"):
        call.with_(weight=call.arguments["weight"][..., :0])()


@pytest.mark.parametrize("name", ["max_pool", "avg_pool"])
@pytest.mark.parametrize(("kernel", "padding"), [(1, 1), (2, 2), (3, 2), (4, 3), (4, ((0, 3),))])
def test_pooling_refuses_padding_above_half_the_kernel(name: str, kernel: int, padding: Any) -> None:
    function = getattr(F, f"{name}1d")
    with pytest.raises(ValueError, match=rf"^{name}1d: .*padding.*half"):
        function(np.ones((1, 1, 9)), kernel, 1, padding)
    assert function(np.ones((1, 1, 9)), kernel, 1, kernel // 2).shape[2] >= 9


@pytest.mark.parametrize("name", ["conv_transpose1d", "conv_transpose2d", "conv_transpose3d"])
def test_output_padding_has_a_limit(name: str) -> None:
    call = call_named(name)
    with pytest.raises(ValueError, match=rf"^{name}: output_padding 2 .*smaller than .*2"):
        call.with_(output_padding=2)()
    with pytest.raises(ValueError, match=rf"^{name}: output_padding"):
        call.with_(output_padding=-1)()


@pytest.mark.parametrize("name", ["conv1d", "conv2d", "conv3d", "im2col"])
def test_an_unknown_padding_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=rf"^{name}: padding .*'valid', 'same' or 'full'"):
        call_named(name).with_(padding="reflect")()


@pytest.mark.parametrize("axis", [3, -4, 1.0, None])
def test_axes_that_are_not_there(axis: Any) -> None:
    x = np.zeros((2, 3, 4))
    for function in (F.softmax, F.log_softmax):
        with pytest.raises((ValueError, TypeError), match=rf"^{function.__name__}: .*axis"):
            function(x, axis)
    with pytest.raises((ValueError, TypeError), match=r"^concat: .*axis"):
        F.concat([x, x], axis)


def test_parts_that_cannot_be_joined() -> None:
    for parts in ([], [np.zeros((2, 3)), np.zeros((3, 3))], [np.zeros((2, 3)), np.zeros(3)], [np.zeros(())]):
        with pytest.raises(ValueError, match=r"^concat: "):
            F.concat(parts, 1)
    single = np.zeros((2, 3), np.float32)
    with pytest.raises(TypeError, match=r"^concat: "):
        F.concat([np.zeros((2, 3)), single], 1)
    with pytest.raises(TypeError, match=r"^concat_backward: "):
        F.concat_backward(np.zeros((2, 6)), [single, single], 1)
    with pytest.raises(ValueError, match=r"^concat_backward: "):
        F.concat_backward(np.zeros((2, 6)), [np.zeros((2, 3)), np.zeros((5, 3))], 1)


def test_sizes_beyond_any_memory_are_refused_for_a_batch_of_none_too() -> None:
    """Of no values, but NumPy counts places along each axis in 64 bits."""
    x = np.zeros((0, 1, 4))
    for name, call in [
        ("pad", lambda: F.pad(x, 2**62)),
        ("interpolate", lambda: F.interpolate(x, 2**63 - 1)),
        ("adaptive_avg_pool1d", lambda: F.adaptive_avg_pool1d(x, 2**63 - 1)),
        ("max_unpool1d", lambda: F.max_unpool1d(x, np.zeros(x.shape, int), 2, output_size=2**63 - 1)),
    ]:
        with pytest.raises(ValueError, match=rf"^{name}: .*more values than can be addressed"):
            call()


# Nothing crashes ------------------------------------------------------------------------------------


def test_no_argument_crashes_the_interpreter(run_apart: Callable[..., None]) -> None:
    """Only errors that speak of the arguments come of arguments replaced by rubbish."""
    run_apart("import fuzz_functional; fuzz_functional.main()", seconds=300)
