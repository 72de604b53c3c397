r"""
One-dimensional convolution
===========================

A generator emits a signal :math:`x_t` at every moment :math:`t`, and what it emitted fades: after one step a half is
left, after two steps a quarter, after three nothing. What arrives at the moment :math:`t` is then

.. math::

   y_t = 1 \cdot x_t + \tfrac12 \cdot x_{t-1} + \tfrac14 \cdot x_{t-2} = \sum_{k=1}^{3} w_k \, x_{t-k+1}.

This sum is the *convolution* of the signal with the *kernel* (or filter) :math:`w = (1, \tfrac12, \tfrac14)`, written
:math:`y = w * x`.
"""

import matplotlib.pyplot as plt
import numpy as np

from convkit import functional as F
from convkit import nn

emitted = np.array([4.0, 0, 0, 0, 3, 2, 0, 0, 1, 4, 4, 0, 0, 0])
kernel = np.array([1.0, 1 / 2, 1 / 4])

# %%
# Functions on arrays
# -------------------
#
# ``F.convolve1d`` is this sum. ``mode="full"`` is the *wide* convolution: it begins where the kernel first touches the
# signal and ends where it last does, so that :math:`n` values and a kernel of :math:`m` give :math:`n + m - 1`.

received = F.convolve1d(emitted, kernel, mode="full")

by_hand = [
    sum(kernel[k] * emitted[t - k] for k in range(3) if 0 <= t - k < len(emitted))
    for t in range(len(emitted) + 2)
]  # fmt: skip
assert np.allclose(received, by_hand)
print(received)

# %%
# Each bar of the picture is one :math:`y_t`, made up of what has just been emitted and what is left of the two signals
# before.

moments = np.arange(len(received))
shares = [np.pad(weight * emitted, (k, 2 - k)) for k, weight in enumerate(kernel)]

figure, (above, below) = plt.subplots(
    2, 1, sharex=True, height_ratios=[4.5, 7.5], figsize=(8, 4.5), layout="constrained"
)  # fmt: skip
above.bar(moments[: len(emitted)], emitted, color="#33608c")
above.set(ylabel="emitted $x_t$", ylim=(0, 4.5))
names = ["$1 \\cdot x_t$", "$\\frac{1}{2} \\cdot x_{t-1}$", "$\\frac{1}{4} \\cdot x_{t-2}$"]
for k, (share, colour) in enumerate(zip(shares, ["#33608c", "#e69138", "#f6cf9c"], strict=True)):
    below.bar(moments, share, bottom=sum(shares[:k]), color=colour, label=names[k])
below.set(xlabel="moment $t$", ylabel="received $y_t$", ylim=(0, 7.5), xticks=moments)
below.legend(ncols=3, frameon=False, loc="upper left")

# %%
# Layers
# ------
#
# Networks learn their kernels, so it makes no difference to them which way round a kernel is stored. ``nn.Conv1d``,
# as every framework's layer, therefore does not turn it: :math:`y_t = \sum_k w_k x_{t+k-1}`, a *cross-correlation*
# (see :ref:`sphx_glr_guide_02_cross_correlation.py`). With the kernel turned round it computes what was received. Its
# arrays have a batch and a channel axis, and are float32.

layer = nn.Conv1d(1, 1, kernel_size=3, padding="full", bias=False)
layer.weight.assign(kernel[::-1].reshape(1, 1, 3))
output = layer(emitted.reshape(1, 1, -1).astype("float32"))

assert np.allclose(output[0, 0], received)

# %%
# Low-pass and high-pass filters
# ------------------------------
#
# With other weights the same sum brings out other sides of a signal. The *moving average*
# :math:`w = (\tfrac1m, \dots, \tfrac1m)` keeps what changes slowly; the *second difference* :math:`w = (1, -2, 1)`
# approximates the second derivative, :math:`x(t+1) + x(t-1) - 2 x(t)`, and keeps what changes fast. Here the *narrow*
# convolution, the default, leaves out the ends where the kernel would hang over.

rng = np.random.default_rng(0)
time = np.arange(200)
slow = np.sin(time / 25)
signal = slow + 0.15 * rng.standard_normal(200)

average = np.full(9, 1 / 9)
difference = np.array([1.0, -2.0, 1.0])
low = F.convolve1d(signal, average)  # 192 values, of the moments 4 to 195
high = F.convolve1d(signal, difference)  # 198 values, of the moments 1 to 198

assert np.std(low - slow[4:-4]) < np.std(signal - slow) / 2  # noise is averaged away
assert abs(F.convolve1d(np.full(50, 7.0), difference)).max() == 0  # of a constant nothing is left

# %%
# How much of a wave passes a filter is the size of the filter's Fourier transform at the wave's frequency: 1 at
# frequency 0 for the average, which leaves a constant as it is, and 0 there for the difference, which removes it.

frequency = np.linspace(0, 0.5, 200)  # cycles a step


def passed(kernel):
    waves = np.exp(-2j * np.pi * np.outer(frequency, np.arange(len(kernel))))
    return np.abs(waves @ kernel)


figure = plt.figure(figsize=(9, 5), layout="constrained")
panels = figure.subplot_mosaic([["signal", "spectrum"], ["low", "spectrum"], ["high", "spectrum"]], width_ratios=[2, 1])
panels["signal"].plot(time, signal, color="0.35", lw=1)
panels["signal"].set_title("signal $x$: a slow wave and noise", loc="left")
panels["low"].plot(time, slow, color="0.75", lw=4, label="the slow wave")
panels["low"].plot(time[4:-4], low, color="#33608c", label="moving average of 9")
panels["low"].set_title("low-pass", loc="left")
panels["low"].legend(frameon=False, loc="lower left", fontsize="small")
panels["high"].plot(time[1:-1], high, color="#c0504d", lw=1)
panels["high"].set_title("high-pass: second difference", loc="left")
for name in ("signal", "low", "high"):
    panels[name].set_xlim(0, 199)
for name in ("signal", "low"):
    panels[name].tick_params(labelbottom=False)
panels["high"].set_xlabel("$t$")
panels["spectrum"].plot(frequency, passed(average), color="#33608c", label="moving average of 9")
panels["spectrum"].plot(frequency, passed(difference), color="#c0504d", label="(1, −2, 1)")
panels["spectrum"].set(xlabel="frequency, cycles a step", xlim=(0, 0.5), ylim=(0, 4.1))
panels["spectrum"].set_title("what passes, $|W|$", loc="left")
panels["spectrum"].legend(frameon=False, loc="upper left")

plt.show()
