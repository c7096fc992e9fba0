"""Convolution, batch normalisation and activation as one module and one operator."""

from collections.abc import Callable, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from ..dispatch import Operator, TritonImplementation, check_impl, register
from .activations import NEGATIVE_SLOPE, check_activation
from .definitions.normalisation import BatchNorm
from .functions import SCOPE, check_tensors, why_torch, why_torch_on, why_unsupported
from .layers import Layer, run_layers

NORMS = ("batch", "none")


class FusedBlock(nn.Module):
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
        modules: list[nn.Module] = [convolution]
        if norm is not None:
            modules.append(norm)
        if activation is not None:
            modules.append(_ACTIVATION_MODULES[activation]())
        for index, module in enumerate(modules):
            self.add_module(str(index), module)
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
            y: Tensor = norm(self._run(x, self.layer()._replace(activation=None)))
            return y if self.activation is None else self.get_submodule("2")(y)
        layer = self.layer()
        self.count_batch()
        return self._run(x, layer)

    def _run(self, x: Tensor, layer: Layer) -> Tensor:
        return operator_of(layer).run(self.impl, x, [layer])

    @property
    def known(self) -> bool:
        """Whether the block is a single `Layer`: its normalisation is none or batch's."""
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

    def layer(self) -> Layer:
        """What the block computes at this call, where it is `known`."""
        norm = batch_norm_of(self.norm) if isinstance(self.norm, nn.BatchNorm2d) else None
        weight, bias = self.convolution.weight, self.convolution.bias
        return Layer(weight, bias, norm, self.activation, self.transposed)

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
        return getattr(self, "0")  # type: ignore[no-any-return]

    @property
    def norm(self) -> nn.Module | None:
        """The layer that holds the normalisation's parameters and running statistics."""
        return getattr(self, "1") if self.normalised else None

    def extra_repr(self) -> str:
        """What `repr` says of the module."""
        return f"impl={self.impl!r}"


class ConvTransposeBlock(FusedBlock):
    """ConvTranspose2d(kernel 4, stride 2, padding 1), batch normalisation, activation.

    [N, Cin, H, W] ↦ [N, Cout, 2H, 2W]. Computes what
    `nn.Sequential(nn.ConvTranspose2d(Cin, Cout, 4, 2, 1, bias=False), nn.BatchNorm2d(Cout), act)`
    computes, in train and eval mode, running statistics included, and has its state_dict: weights
    go over in both directions. In eval mode the normalisation is folded into the weights. The
    modules' own hooks are not called. Parameters are kept in channels_last.

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


class ConvBlock(FusedBlock):
    """Conv2d(kernel 4, stride 2, padding 1), batch normalisation, activation.

    [N, Cin, H, W] ↦ [N, Cout, ⌊H/2⌋, ⌊W/2⌋]. Computes what
    `nn.Sequential(nn.Conv2d(Cin, Cout, 4, 2, 1), act)`, with `nn.BatchNorm2d` between and without
    the convolution's bias under `norm="batch"`, computes, and has its state_dict: weights go over
    in both directions. In eval mode the normalisation is folded into the weights. The modules' own
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


def by_the_batch(module: nn.BatchNorm2d) -> bool:
    """Whether the layer normalises by the batch's own statistics."""
    return module.training or (module.running_mean is None and module.running_var is None)


def count_batch(module: nn.BatchNorm2d) -> None:
    """Count a batch that moves the layer's running statistics, as its own forward does."""
    if module.training and module.track_running_stats and module.num_batches_tracked is not None:
        module.num_batches_tracked.add_(1)


def batch_norm_of(module: nn.BatchNorm2d) -> BatchNorm:
    """The layer's state at this call, before or after the batch is counted."""
    tracks = module.training and module.track_running_stats
    stored = tracks or not module.training
    batches = module.num_batches_tracked if tracks else None
    momentum = module.momentum
    if momentum is None and batches is None:
        momentum = 0.0
    return BatchNorm(
        module.weight,
        module.bias,
        module.running_mean if stored else None,
        module.running_var if stored else None,
        by_the_batch(module),
        momentum,
        batches,
        module.eps,
    )


# --- the operators ---


def _load() -> Callable[..., Tensor]:
    from .autograd.layers import run_layers as run

    return run


def _why_unsupported(x: Tensor, layers: Sequence[Layer]) -> str | None:
    """Why Triton cannot compute these layers of x, or None."""
    weights = [layer.weight for layer in layers if layer.weight is not None]
    found = (why_unsupported(x, weight) for weight in weights or [x])
    return next(filter(None, found), None)


def _why_torch(x: Tensor, layers: Sequence[Layer]) -> str | None:
    """Why "auto" takes PyTorch for these layers: one whose product the tables do not favour."""
    if all(layer.weight is None for layer in layers):
        return "no table says that a normalisation by itself is faster"
    n, _, height, width = x.shape
    for layer in layers:
        if layer.weight is None:
            continue
        if not layer.transposed:
            height, width = height // 2, width // 2
        op, (b, a) = ("dgrad" if layer.transposed else "fprop"), layer.weight.shape[:2]
        reason = why_torch(op, x, b, a, n * height * width)
        if reason is not None:
            return reason
        if layer.transposed:
            height, width = 2 * height, 2 * width
    return None


TRITON = TritonImplementation(
    load=_load,
    scope=SCOPE,
    why_unsupported=_why_unsupported,
    why_torch=_why_torch,
    why_torch_on=why_torch_on,
)
CONV_TRANSPOSE_BLOCK = register(Operator("conv_transpose_block", run_layers, TRITON))
CONV_BLOCK = register(Operator("conv_block", run_layers, TRITON))
BATCH_NORM_ACTIVATION = register(Operator("batch_norm_activation", run_layers, TRITON))


def operator_of(layer: Layer) -> Operator[[Tensor, Sequence[Layer]], Tensor]:
    """The operator that a single layer is a call of."""
    if layer.weight is None:
        return BATCH_NORM_ACTIVATION
    return CONV_TRANSPOSE_BLOCK if layer.transposed else CONV_BLOCK
