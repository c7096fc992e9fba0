"""Convolution, batch normalisation and activation as one module and one operator."""

from collections.abc import Callable, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from ..dispatch import Operator, TritonImplementation, check_impl, register
from . import triton_choice
from .activations import NEGATIVE_SLOPE, check_activation
from .functions import check_tensors
from .normalisation import BatchNorm
from .stages import Stage, run_stages

NORMS = ("batch", "none")


class Block(nn.Module):
    """A k4 s2 p1 convolution, its normalisation and its activation under a Sequential's names.

    Attributes:
        transposed: whether the convolution is.
        activation: its name, or None.
        normalised: whether the block was made with a normalisation.
        impl: which implementation is asked for.
    """

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
        self.check(x)
        norm = self.norm
        if not self.known:  # exchanged, for SyncBatchNorm say
            assert norm is not None
            y: Tensor = norm(self._run(x, self.stage()._replace(activation=None)))
            return y if self.activation is None else self.get_submodule("2")(y)
        stage = self.stage()
        self.count_batch()
        return self._run(x, stage)

    def _run(self, x: Tensor, stage: Stage) -> Tensor:
        return operator_of(stage).run(self.impl, x, [stage])

    @property
    def known(self) -> bool:
        """Whether the block is a single `Stage`: its normalisation is none or batch's."""
        return self.norm is None or isinstance(self.norm, nn.BatchNorm2d)

    def check(self, x: Tensor) -> None:
        """Raise what `forward` would for this x, of which only shape, dtype and device are read."""
        check_tensors(x, self.convolution.weight, self.convolution.bias, transposed=self.transposed)
        if (
            isinstance(self.norm, nn.BatchNorm2d)
            and not self.transposed
            and by_the_batch(self.norm)
        ):
            _check_several_values(x)

    def stage(self) -> Stage:
        """What the block computes at this call, where it is `known`."""
        norm = batch_norm_of(self.norm) if isinstance(self.norm, nn.BatchNorm2d) else None
        weight, bias = self.convolution.weight, self.convolution.bias
        return Stage(weight, bias, norm, self.activation, self.transposed)

    def count_batch(self) -> None:
        """Count a batch that will move the running statistics."""
        if isinstance(self.norm, nn.BatchNorm2d):
            count_batch(self.norm)

    def out_shape(self, shape: Sequence[int]) -> tuple[int, int, int, int]:
        """[N, Cout, …] of the result for an input of `shape` [N, Cin, H, W]."""
        n, _, height, width = shape
        if self.transposed:
            return n, self.convolution.out_channels, 2 * height, 2 * width
        return n, self.convolution.out_channels, height // 2, width // 2

    @property
    def convolution(self) -> nn.Conv2d | nn.ConvTranspose2d:
        """The layer that holds the convolution's weight, and its bias without normalisation."""
        return self._modules["0"]  # type: ignore[return-value]

    @property
    def norm(self) -> nn.Module | None:
        """The layer that holds the normalisation's parameters and running statistics."""
        return self._modules["1"] if self.normalised else None

    def extra_repr(self) -> str:
        """What `repr` says of the layer."""
        return f"impl={self.impl!r}"


class ConvTransposeBlock(Block):
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


class ConvBlock(Block):
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


def by_the_batch(layer: nn.BatchNorm2d) -> bool:
    """Whether the layer normalises by the batch's own statistics."""
    return layer.training or (layer.running_mean is None and layer.running_var is None)


def count_batch(layer: nn.BatchNorm2d) -> None:
    """Count a batch that moves the layer's running statistics, as its own forward does."""
    if layer.training and layer.track_running_stats and layer.num_batches_tracked is not None:
        layer.num_batches_tracked.add_(1)


def batch_norm_of(layer: nn.BatchNorm2d) -> BatchNorm:
    """The layer's state at this call, before or after the batch is counted."""
    tracks = layer.training and layer.track_running_stats
    stored = tracks or not layer.training
    batches = layer.num_batches_tracked if tracks else None
    momentum = layer.momentum
    if momentum is None and batches is None:
        momentum = 0.0
    return BatchNorm(
        layer.weight,
        layer.bias,
        layer.running_mean if stored else None,
        layer.running_var if stored else None,
        by_the_batch(layer),
        momentum,
        batches,
        layer.eps,
    )


# --- the operators ---


def _load() -> Callable[..., Tensor]:
    from .triton_blocks import run_stages as run

    return run


def _obstacle(x: Tensor, stages: Sequence[Stage]) -> str | None:
    """Why Triton cannot compute these stages of x, or None."""
    weights = [stage.weight for stage in stages if stage.weight is not None]
    found = (triton_choice.obstacle(x, weight) for weight in weights or [x])
    return next(filter(None, found), None)


def _pays(x: Tensor, stages: Sequence[Stage]) -> str | None:
    """Why "auto" takes PyTorch for these stages: one whose product the tables do not favour."""
    if all(stage.weight is None for stage in stages):
        return "no table says that a normalisation by itself is faster"
    n, _, height, width = x.shape
    for stage in stages:
        if stage.weight is None:
            continue
        if not stage.transposed:
            height, width = height // 2, width // 2
        op, (b, a) = ("spread" if stage.transposed else "convolve"), stage.weight.shape[:2]
        reason = triton_choice.pays(op, x, b, a, n * height * width)
        if reason is not None:
            return reason
        if stage.transposed:
            height, width = 2 * height, 2 * width
    return None


TRITON = TritonImplementation(
    load=_load,
    scope=triton_choice.SCOPE,
    supports=_obstacle,
    pays=_pays,
    standing=triton_choice.standing,
)
CONV_TRANSPOSE_BLOCK = register(Operator("conv_transpose_block", run_stages, TRITON))
CONV_BLOCK = register(Operator("conv_block", run_stages, TRITON))
BATCH_NORM_ACTIVATION = register(Operator("batch_norm_activation", run_stages, TRITON))


def operator_of(stage: Stage) -> Operator[[Tensor, Sequence[Stage]], Tensor]:
    """The operator that a single stage is a call of."""
    if stage.weight is None:
        return BATCH_NORM_ACTIVATION
    return CONV_TRANSPOSE_BLOCK if stage.transposed else CONV_BLOCK
