"""A chain of convolutions, normalisations and activations as data, and what it computes.

A `Stage` is one block's arithmetic at one call: product, normalisation, activation, each optional
but one of the first two. Modules make stages of their parameters (`blocks`, `chains`); here they
are computed one operator after the other, and `triton_blocks` computes the same with fused kernels.
"""

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

from .activations import activate
from .functions import conv2d, conv_transpose2d
from .normalisation import BatchNorm, batch_norm, fold
from .products import convolve, spread


class Stage(NamedTuple):
    """activation(norm(product(x))).

    Attributes:
        weight: of the convolution, [Cin, Cout, 4, 4] transposed, else [Cout, Cin, 4, 4]; None
            for a stage without one, which has a norm.
        bias: of the convolution, [Cout] or None.
        norm: the normalisation at this call, or None.
        activation: None, "relu", "leaky_relu", "tanh" or "sigmoid".
        transposed: whether the convolution is.
    """

    weight: Tensor | None
    bias: Tensor | None
    norm: BatchNorm | None
    activation: str | None
    transposed: bool

    @property
    def out_dim(self) -> int:
        """Which dimension of the weight is Cout."""
        return 1 if self.transposed else 0


def folded(stage: Stage) -> Stage:
    """The stage with a normalisation by running statistics folded into weight and bias.

    The stage itself where there is none, or no convolution to fold it into.
    """
    if stage.norm is None or stage.norm.training or stage.weight is None:
        return stage
    weight, bias = fold(stage.weight, stage.bias, stage.norm, stage.out_dim)
    return stage._replace(weight=weight, bias=bias, norm=None)


def run_stages(x: Tensor, stages: Sequence[Stage], impl: str = "torch") -> Tensor:
    """All stages, one operator after the other; differentiable, to any order.

    Args:
        x: [N, C, H, W].
        stages: what to compute.
        impl: of the convolutions; everything else is PyTorch's.
    """
    for stage in map(folded, stages):
        if stage.weight is not None:
            x = product(x, stage, impl)
        if stage.norm is not None:
            x = activate(batch_norm(x, stage.norm), stage.activation)
    return x


def product(x: Tensor, stage: Stage, impl: str) -> Tensor:
    """The stage's convolution with bias, and with the activation where no normalisation follows."""
    assert stage.weight is not None
    activation = stage.activation if stage.norm is None else None
    if impl == "torch":
        torchs = spread if stage.transposed else convolve
        return activate(torchs(x, stage.weight, stage.bias), activation)
    operator = conv_transpose2d if stage.transposed else conv2d
    return operator(x, stage.weight, stage.bias, activation, impl=impl)
