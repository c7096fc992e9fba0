"""Convolution, batch normalisation and activation as one module and one operator."""

from collections.abc import Callable
from typing import ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..dispatch import Operator, check_impl, register
from .functions import NEGATIVE_SLOPE, activate, check_activation, check_tensors
from .products import convolve, spread

NORMS = ("batch", "none")


class BatchNorm(NamedTuple):
    """What a batch normalisation is at one call, as `torch.nn.functional.batch_norm` takes it.

    Attributes:
        weight: γ, [Cout], or None for 1.
        bias: β, [Cout], or None for 0.
        running_mean: [Cout], or None; updated in place when `training`.
        running_var: [Cout], or None; updated in place when `training`.
        training: normalise by the batch's statistics rather than the running ones.
        momentum: weight of the batch's statistics in the running ones.
        eps: added to the variance.
    """

    weight: Tensor | None
    bias: Tensor | None
    running_mean: Tensor | None
    running_var: Tensor | None
    training: bool
    momentum: float
    eps: float


class _Block(nn.Module):
    """A k4 s2 p1 convolution, its normalisation and its activation under a Sequential's names."""

    transposed: ClassVar[bool]

    def __init__(
        self,
        convolution: nn.Conv2d | nn.ConvTranspose2d,
        norm: nn.BatchNorm2d | None,
        activation: str | None,
        impl: str,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = [convolution]
        if norm is not None:
            layers.append(norm)
        if activation is not None:
            layers.append(_ACTIVATION_MODULES[activation]())
        for index, layer in enumerate(layers):
            self.add_module(str(index), layer)
        self.activation = activation
        self.normalised = norm is not None
        self.impl = impl
        # Otherwise every call would copy the weight into this layout.
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, x: Tensor) -> Tensor:
        """The block's convolution, normalisation and activation of x, [N, Cin, H, W].

        Raises:
            RuntimeError: rank, size, channels, dtype or device of `x` do not fit the parameters.
            ValueError: batch statistics over a single value per channel.
            ImplUnavailableError: Triton is asked for where it cannot run.
        """
        weight, bias = self.convolution.weight, self.convolution.bias
        check_tensors(x, weight, bias, transposed=self.transposed)
        run = _CONV_TRANSPOSE_BLOCK.run if self.transposed else _CONV_BLOCK.run
        norm = self.norm
        if norm is None:
            return run(self.impl, x, weight, bias, None, self.activation)
        if not isinstance(norm, nn.BatchNorm2d):  # exchanged, for SyncBatchNorm say
            y: Tensor = norm(run(self.impl, x, weight, bias, None, None))
            return y if self.activation is None else self.get_submodule("2")(y)
        if not self.transposed and _by_the_batch(norm):
            _check_several_values(x)
        return run(self.impl, x, weight, bias, _batch_norm(norm), self.activation)

    @property
    def convolution(self) -> nn.Conv2d | nn.ConvTranspose2d:
        """The layer that holds the convolution's weight, and its bias without normalisation."""
        return self._modules["0"]  # type: ignore[return-value]

    @property
    def norm(self) -> nn.Module | None:
        """The layer that holds the normalisation's parameters and running statistics."""
        return self._modules["1"] if self.normalised else None

    def extra_repr(self) -> str:
        return f"impl={self.impl!r}"


class ConvTransposeBlock(_Block):
    """ConvTranspose2d(kernel 4, stride 2, padding 1), batch normalisation, activation.

    [N, Cin, H, W] ↦ [N, Cout, 2H, 2W]. Computes what
    `nn.Sequential(nn.ConvTranspose2d(Cin, Cout, 4, 2, 1, bias=False), nn.BatchNorm2d(Cout), act)`
    computes, in train and eval mode, running statistics included, and has its state_dict: weights
    go over in both directions. In eval mode the normalisation is folded into the weights. The
    layers' own hooks are not called. Parameters are kept in channels_last.

    Args:
        in_channels: Cin.
        out_channels: Cout.
        norm: "batch", or "none": then the convolution has a bias.
        activation: None, "relu", "leaky_relu" (slope 0.2), "tanh" or "sigmoid".
        impl: "auto", "triton" or "torch", see `kernels.explain`.
        device: of the parameters.
        dtype: of the parameters.

    Raises:
        ValueError: unknown `norm`, `activation` or `impl`.
    """

    transposed = True

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        norm: str = "batch",
        activation: str | None = "relu",
        impl: str = "auto",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        _check_options(norm, activation, impl)
        normalised = norm == "batch"
        super().__init__(
            nn.ConvTranspose2d(
                in_channels, out_channels, 4, 2, 1, bias=not normalised, device=device, dtype=dtype
            ),
            nn.BatchNorm2d(out_channels, device=device, dtype=dtype) if normalised else None,
            activation,
            impl,
        )


class ConvBlock(_Block):
    """Conv2d(kernel 4, stride 2, padding 1), batch normalisation, activation.

    [N, Cin, H, W] ↦ [N, Cout, ⌊H/2⌋, ⌊W/2⌋]. Computes what
    `nn.Sequential(nn.Conv2d(Cin, Cout, 4, 2, 1), act)`, with `nn.BatchNorm2d` between and without
    the convolution's bias under `norm="batch"`, computes, and has its state_dict: weights go over
    in both directions. In eval mode the normalisation is folded into the weights. The layers' own
    hooks are not called. Parameters are kept in channels_last.

    Args:
        in_channels: Cin.
        out_channels: Cout.
        norm: "none": the convolution has a bias; or "batch".
        activation: None, "relu", "leaky_relu" (slope 0.2), "tanh" or "sigmoid".
        impl: "auto", "triton" or "torch", see `kernels.explain`.
        device: of the parameters.
        dtype: of the parameters.

    Raises:
        ValueError: unknown `norm`, `activation` or `impl`.
    """

    transposed = False

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        norm: str = "none",
        activation: str | None = "leaky_relu",
        impl: str = "auto",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        _check_options(norm, activation, impl)
        normalised = norm == "batch"
        super().__init__(
            nn.Conv2d(
                in_channels, out_channels, 4, 2, 1, bias=not normalised, device=device, dtype=dtype
            ),
            nn.BatchNorm2d(out_channels, device=device, dtype=dtype) if normalised else None,
            activation,
            impl,
        )


_ACTIVATION_MODULES: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": lambda: nn.LeakyReLU(NEGATIVE_SLOPE),
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
}


def _check_options(norm: str, activation: str | None, impl: str) -> None:
    if norm not in NORMS:
        raise ValueError(f"norm={norm!r} is not known; known: {', '.join(map(repr, NORMS))}")
    check_activation(activation)
    check_impl(impl)


def _check_several_values(x: Tensor) -> None:
    if x.shape[0] * (x.shape[2] // 2) * (x.shape[3] // 2) == 1:
        raise ValueError(
            f"x of shape {list(x.shape)} gives one value per channel: "
            "batch normalisation by the batch's own statistics needs more"
        )


def _by_the_batch(layer: nn.BatchNorm2d) -> bool:
    """Whether the layer normalises by the batch's own statistics."""
    return layer.training or (layer.running_mean is None and layer.running_var is None)


def _batch_norm(layer: nn.BatchNorm2d) -> BatchNorm:
    """The layer's state at this call; counts the batch, as the layer itself would."""
    tracks = layer.training and layer.track_running_stats
    momentum = 0.0 if layer.momentum is None else layer.momentum
    if tracks and layer.num_batches_tracked is not None:
        layer.num_batches_tracked.add_(1)
        if layer.momentum is None:  # a cumulative average
            momentum = 1.0 / float(layer.num_batches_tracked)
    stored = tracks or not layer.training
    mean = layer.running_mean if stored else None
    var = layer.running_var if stored else None
    training = _by_the_batch(layer)
    return BatchNorm(layer.weight, layer.bias, mean, var, training, momentum, layer.eps)


def _block_torch(
    product: Callable[[Tensor, Tensor, Tensor | None], Tensor],
    out_dim: int,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    norm: BatchNorm | None,
    activation: str | None,
) -> Tensor:
    if norm is None:
        return activate(product(x, weight, bias), activation)
    if not norm.training:
        weight, bias = _fold(weight, bias, norm, out_dim)
        return activate(product(x, weight, bias), activation)
    y = F.batch_norm(
        product(x, weight, bias),
        norm.running_mean,
        norm.running_var,
        norm.weight,
        norm.bias,
        training=True,
        momentum=norm.momentum,
        eps=norm.eps,
    )
    return activate(y, activation)


def _fold(
    weight: Tensor, bias: Tensor | None, norm: BatchNorm, out_dim: int
) -> tuple[Tensor, Tensor]:
    """γ (W∗x + b − μ)/σ + β as one convolution: W·γ/σ, (b − μ)·γ/σ + β."""
    mean, var = norm.running_mean, norm.running_var
    assert mean is not None  # `training` is set where there are no running statistics
    assert var is not None
    scale = torch.rsqrt(var + norm.eps)
    if norm.weight is not None:
        scale = scale * norm.weight
    shift = (-mean if bias is None else bias - mean) * scale
    if norm.bias is not None:
        shift = shift + norm.bias
    shape = [1, 1, 1, 1]
    shape[out_dim] = -1
    return (weight * scale.view(shape)).to(weight.dtype), shift.to(weight.dtype)


def _conv_transpose_block_torch(
    x: Tensor, weight: Tensor, bias: Tensor | None, norm: BatchNorm | None, activation: str | None
) -> Tensor:
    return _block_torch(spread, 1, x, weight, bias, norm, activation)


def _conv_block_torch(
    x: Tensor, weight: Tensor, bias: Tensor | None, norm: BatchNorm | None, activation: str | None
) -> Tensor:
    return _block_torch(convolve, 0, x, weight, bias, norm, activation)


_CONV_TRANSPOSE_BLOCK = register(Operator("conv_transpose_block", _conv_transpose_block_torch))
_CONV_BLOCK = register(Operator("conv_block", _conv_block_torch))
