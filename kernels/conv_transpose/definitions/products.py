"""What the fused products compute, in PyTorch: the definition that the Triton versions are held to.

x is the large image [N, A, H, W], y the small one [N, B, h, w] with h = ⌊H/2⌋, w = ⌊W/2⌋, and all
three products have one weight layout, [B, A, 4, 4]:

    fprop(x, w)    = y    conv2d, kernel 4, stride 2, padding 1
    dgrad(y, w)      = x    conv_transpose2d
    wgrad(x, y) = w    their correlation

A product can read its operand through a prologue, activation(scale · operand + shift): batch
normalisation folded into the load. It can add a bias and an activation, or return the statistics
of its result. None of these functions is meant to be differentiated: see `twin`.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from ..activations import activate, check_activation

Size = tuple[int, int]


class Prologue(NamedTuple):
    """activation(scale · operand + shift), applied while an operand is loaded.

    What lies outside the image stays zero: the padding comes after the map.

    Attributes:
        scale: [C] of the operand's channels, fp32 (fp64 for an fp64 operand).
        shift: [C], likewise.
        activation: None, "relu", "leaky_relu", "tanh" or "sigmoid".
    """

    scale: Tensor
    shift: Tensor
    activation: str | None = None


class WithStatistics(NamedTuple):
    """A product with its statistics per channel, which are taken before rounding to its dtype.

    Attributes:
        result: the product, channels_last.
        mean: [C] over batch, height and width; fp32 (fp64 for fp64 operands).
        m2: [C], Σ (result − mean)²: `values` times the biased variance.
        values: number of values per channel.
    """

    result: Tensor
    mean: Tensor
    m2: Tensor
    values: int


def dgrad(
    y: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    activation: str | None = None,
    *,
    statistics: bool = False,
    prologue: Prologue | None = None,
    size: Size | None = None,
) -> Tensor | WithStatistics:
    """activation(conv_transpose2d(prologue(y), weight, bias, stride=2, padding=1)).

    Args:
        y: [N, B, h, w].
        weight: [B, A, 4, 4].
        bias: [A] or None.
        activation: of the result; None where `statistics` are taken.
        statistics: also return mean and M2 of the result.
        prologue: applied to y; None for the identity.
        size: (H, W) of the result, each 2h or 2h + 1; (2h, 2w) by default. One row or column
            more is what the gradient of `fprop` at an odd size needs.

    Returns:
        x, [N, A, H, W] in channels_last, or `WithStatistics`.

    Raises:
        ValueError: `activation` together with `statistics`, or either is unknown.
    """
    height, width = size if size is not None else (2 * y.shape[2], 2 * y.shape[3])
    extra = (height - 2 * y.shape[2], width - 2 * y.shape[3])
    wide, wide_weight, wide_bias = _widened(y, weight, bias, prologue)
    x = torch.convolution(wide, wide_weight, wide_bias, (2, 2), (1, 1), (1, 1), True, extra, 1)
    return _finished(x, y.dtype, activation, statistics)


def fprop(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    activation: str | None = None,
    *,
    statistics: bool = False,
    prologue: Prologue | None = None,
) -> Tensor | WithStatistics:
    """activation(conv2d(prologue(x), weight, bias, stride=2, padding=1)).

    Args:
        x: [N, A, H, W].
        weight: [B, A, 4, 4].
        bias: [B] or None.
        activation: of the result; None where `statistics` are taken.
        statistics: also return mean and M2 of the result.
        prologue: applied to x; None for the identity.

    Returns:
        y, [N, B, ⌊H/2⌋, ⌊W/2⌋] in channels_last, or `WithStatistics`.

    Raises:
        ValueError: `activation` together with `statistics`, or either is unknown.
    """
    wide, wide_weight, wide_bias = _widened(x, weight, bias, prologue)
    y = torch.convolution(wide, wide_weight, wide_bias, (2, 2), (1, 1), (1, 1), False, (0, 0), 1)
    return _finished(y, x.dtype, activation, statistics)


def wgrad(
    x: Tensor,
    y: Tensor,
    *,
    x_prologue: Prologue | None = None,
    y_prologue: Prologue | None = None,
) -> Tensor:
    """∂/∂w ⟨fprop(prologue(x), w), prologue(y)⟩.

    Args:
        x: [N, A, H, W].
        y: [N, B, ⌊H/2⌋, ⌊W/2⌋].
        x_prologue: applied to x.
        y_prologue: applied to y.

    Returns:
        [B, A, 4, 4] of y's dtype in channels_last.
    """
    wide_x, wide_y = _prologued(x, x_prologue), _prologued(y, y_prologue)
    weight = wide_y.new_empty(y.shape[1], x.shape[1], 4, 4)  # read for its shape alone
    _, grad, _ = torch.ops.aten.convolution_backward(
        wide_y, wide_x, weight, None, (2, 2), (1, 1), (1, 1), False, (0, 0), 1,
        (False, True, False),
    )  # fmt: skip
    result: Tensor = grad.to(y.dtype)
    return result.contiguous(memory_format=torch.channels_last)


def check_epilogue(activation: str | None, statistics: bool) -> None:
    """Raise ValueError unless the epilogue is one that the products have."""
    check_activation(activation)
    if statistics and activation is not None:
        raise ValueError(
            f"activation={activation!r} with statistics=True: statistics are those of the product "
            "that a normalisation still has to see; the activation comes after it"
        )


def accumulated_dtype(dtype: torch.dtype) -> torch.dtype:
    """The dtype that products of `dtype` are summed in, and that statistics have."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def _prologued(operand: Tensor, prologue: Prologue | None) -> Tensor:
    wide = operand.to(accumulated_dtype(operand.dtype))
    if prologue is None:
        return wide
    affine = wide * prologue.scale.view(1, -1, 1, 1) + prologue.shift.view(1, -1, 1, 1)
    # Rounded as the tensor would be if it were written out: the product reads it in that dtype.
    return activate(affine, prologue.activation).to(operand.dtype).to(wide.dtype)


def _widened(
    operand: Tensor, weight: Tensor, bias: Tensor | None, prologue: Prologue | None
) -> tuple[Tensor, Tensor, Tensor | None]:
    wide = _prologued(operand, prologue)
    return wide, weight.to(wide.dtype), None if bias is None else bias.to(wide.dtype)


def _finished(
    result: Tensor, dtype: torch.dtype, activation: str | None, statistics: bool
) -> Tensor | WithStatistics:
    check_epilogue(activation, statistics)
    rounded = activate(result, activation).to(dtype).contiguous(memory_format=torch.channels_last)
    if not statistics:
        return rounded
    count = result.shape[0] * result.shape[2] * result.shape[3]
    mean = result.mean((0, 2, 3))
    m2 = (result - mean.view(1, -1, 1, 1)).square().sum((0, 2, 3))
    return WithStatistics(rounded, mean, m2, count)
