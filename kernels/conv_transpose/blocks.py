"""Convolution, batch normalisation and activation as one module and one operator."""

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import islice
from typing import Any, ClassVar, Literal, get_args, overload

import torch
from torch import Tensor, nn

from ..dispatch import Impl, Operator, TritonImplementation, check_impl, register
from ..private import recorded
from .activations import NEGATIVE_SLOPE, ActivationName, check_activation
from .definitions.normalisation import BatchNorm
from .functions import SCOPE, check_tensors, why_torch, why_torch_on, why_unsupported
from .layers import Layer, Promise, run_layers
from .recognise import Recognised, called, count_batch, note_called, recognise

Norm = Literal["batch", "none"]
NORMS: tuple[Norm, ...] = get_args(Norm)


class FusedBlock(nn.Sequential):
    """A k4 s2 p1 convolution, its normalisation and its activation, computed together.

    An `nn.Sequential` of torch's own layers, to be indexed, exchanged, hooked and converted as one.
    The layers are computed together as far as each does what its class in torch does; from the
    first one that does not, they are called one by one, and `kernels.explain` says why.

    Attributes:
        transposed: whether the convolution is.
        impl: which implementation is asked for.
    """

    transposed: ClassVar[bool]

    def __init__(
        self,
        convolution: nn.Conv2d | nn.ConvTranspose2d,
        norm: nn.BatchNorm2d | None,
        activation: nn.Module | None,
        impl: str,
    ) -> None:
        super().__init__(
            *(module for module in (convolution, norm, activation) if module is not None)
        )
        self.impl = check_impl(impl)

    def forward(self, x: Tensor) -> Tensor:
        """The block's layers, one after the other, of x, [N, Cin, H, W].

        Raises:
            RuntimeError: rank, size, channels, dtype or device of `x` do not fit the parameters.
            ValueError: batch statistics over a single value per channel.
            ImplUnavailableError: Triton is asked for where it cannot run.
        """
        if recorded(x):  # a trace records torch's layers
            return self._call(x, 0)
        return self.compute(x, self.recognised())

    def recognised(self) -> Recognised:
        """What the block computes together at this call."""
        return recognise(list(self), self.transposed)

    def compute(self, x: Tensor, found: Recognised) -> Tensor:
        """`forward`, given what is computed together at this call."""
        if found.reason is not None:
            note_called(found.reason)
        if found.layer is None:
            operator = CONV_TRANSPOSE_BLOCK if self.transposed else CONV_BLOCK
            operator.refuse_order(self.impl, found.reason or "the block has no layers")
        else:
            x = run_layer(x, found.layer, found.norm, self.impl)
        return self._call(x, found.length)

    def _call(self, x: Tensor, first: int) -> Tensor:
        """The modules from the first one on, each called."""
        for module in islice(self, first, None):
            x = module(x)
        return x

    @overload
    def __getitem__(self, index: slice) -> nn.Sequential: ...
    @overload
    def __getitem__(self, index: int) -> nn.Module: ...
    def __getitem__(self, index: slice | int) -> nn.Module:
        """One layer, or an `nn.Sequential` of several."""
        if isinstance(index, slice):
            return nn.Sequential(OrderedDict(list(self._modules.items())[index]))
        return super().__getitem__(index)

    @property
    def convolution(self) -> nn.Conv2d | nn.ConvTranspose2d:
        """The first layer, which holds the convolution's weight, and its bias without a norm."""
        return next(iter(self), None)  # type: ignore[return-value]

    @property
    def norm(self) -> nn.BatchNorm2d | nn.SyncBatchNorm | None:
        """The batch normalisation, or None."""
        kinds = (nn.BatchNorm2d, nn.SyncBatchNorm)
        return next((module for module in self if isinstance(module, kinds)), None)

    @property
    def weight(self) -> Tensor:
        """The convolution's, for initialisations that go by the name of a class."""
        return self.convolution.weight

    @property
    def bias(self) -> Tensor | None:
        """The convolution's, or None."""
        return self.convolution.bias

    def extra_repr(self) -> str:
        """What `repr` says of the module."""
        return f"impl={self.impl!r}"


def check_layer(x: Tensor | Promise, layer: Layer) -> None:
    """Raise what torch's layers would for this x, of which only shape, dtype and device are read.

    Raises:
        RuntimeError: rank, size, channels, dtype or device of `x` do not fit the weight, or the
            normalisation's channels the convolution's.
        ValueError: batch statistics over a single value per channel, or of an image without a
            batch; a normalisation's eps that is out of range.
    """
    values = x.numel() // max(x.shape[1], 1) if x.dim() > 1 else 0
    if layer.norm is not None:
        _check_norm(x, layer, layer.norm)
    if layer.weight is not None:
        check_tensors(x, layer.weight, layer.bias, transposed=layer.transposed)
        if layer.norm is None or layer.transposed:  # 4 values at least
            return
        values = x.shape[0] * (x.shape[2] // 2) * (x.shape[3] // 2)
    if layer.norm is not None and layer.norm.training and values == 1:
        raise ValueError(
            f"x of shape {list(x.shape)} gives one value per channel: "
            "batch normalisation by the batch's own statistics needs more"
        )


def _check_norm(x: Tensor | Promise, layer: Layer, norm: BatchNorm) -> None:
    if x.dim() != 4 and (layer.weight is None or x.dim() == 3):  # torch's convolution takes 3, too
        raise ValueError(f"x has shape {list(x.shape)}: batch normalisation takes [N, C, H, W]")
    if norm.eps < 0 or (norm.eps == 0 and norm.training):
        raise ValueError(f"eps={norm.eps}: batch normalisation takes a positive one")
    channels = x.shape[1] if layer.weight is None else layer.weight.shape[layer.out_dim]
    for own in (norm.weight, norm.running_mean):
        if own is not None and own.shape[0] != channels:
            raise RuntimeError(
                f"batch normalisation of {own.shape[0]} channels, but there are {channels}"
            )


def run_layer(x: Tensor, layer: Layer, norm: nn.BatchNorm2d | None, impl: str) -> Tensor:
    """One layer of x, [N, Cin, H, W], or [Cin, H, W] where nothing is normalised.

    Args:
        x: the input.
        layer: what to compute.
        norm: whose running statistics it moves.
        impl: which implementation is asked for.

    Raises:
        RuntimeError, ValueError: as `check_layer`.
        ImplUnavailableError: Triton is asked for where it cannot run.
    """
    if x.dim() == 3 and layer.norm is None:  # one image, as torch's convolutions take it
        return run_layer(x.unsqueeze(0), layer, norm, impl).squeeze(0)
    check_layer(x, layer)
    if norm is not None:
        count_batch(norm)
    return operator_of(layer).run(impl, x, [layer])


def out_shape(layer: Layer, shape: Sequence[int]) -> tuple[int, int, int, int]:
    """[N, Cout, …] of the layer's result for an input of `shape` [N, Cin, H, W]."""
    n, channels, height, width = shape
    if layer.weight is None:
        return n, channels, height, width
    channels = layer.weight.shape[layer.out_dim]
    if layer.transposed:
        return n, channels, 2 * height, 2 * width
    return n, channels, height // 2, width // 2


class ConvTransposeBlock(FusedBlock):
    """ConvTranspose2d(kernel 4, stride 2, padding 1), batch normalisation, activation.

    [N, Cin, H, W] ↦ [N, Cout, 2H, 2W]. Computes what
    `nn.Sequential(nn.ConvTranspose2d(Cin, Cout, 4, 2, 1, bias=False), nn.BatchNorm2d(Cout), act)`
    computes, in train and eval mode, running statistics included, and has its state_dict: weights
    go over in both directions. In eval mode the normalisation is folded into the weights.
    Layers that were exchanged, hooked, patched or wrapped are called instead, see `FusedBlock`.
    Fastest in channels_last: `block.to(memory_format=torch.channels_last)`, as any convolution.

    Args:
        in_channels: Cin.
        out_channels: Cout.
        norm: "batch", or "none": then the convolution has a bias.
        activation: None, "relu", "leaky_relu", "tanh", "sigmoid", or a module, which is computed
            with the convolution where it is one of these and called where it is not.
        impl: "auto", "triton" or "torch", see `kernels.explain`.
        device: of the parameters.
        dtype: of the parameters.
        negative_slope: of "leaky_relu"; another than 0.2 is called.
        **options: of `nn.BatchNorm2d`: eps, momentum, affine, track_running_stats.

    Raises:
        ValueError: unknown `norm`, `activation` or `impl`.
        TypeError: an option that `nn.BatchNorm2d` does not have, or one without normalisation.
    """

    transposed = True

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        norm: Norm = "batch",
        activation: ActivationName | nn.Module | None = "relu",
        impl: Impl = "auto",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        negative_slope: float = NEGATIVE_SLOPE,
        **options: Any,
    ) -> None:
        _check_options(norm, options)
        convolution = nn.ConvTranspose2d(
            in_channels, out_channels, 4, 2, 1, bias=norm == "none", device=device, dtype=dtype
        )
        super().__init__(
            convolution,
            nn.BatchNorm2d(out_channels, device=device, dtype=dtype, **options)
            if norm == "batch"
            else None,
            activation_module(activation, negative_slope),
            impl,
        )


class ConvBlock(FusedBlock):
    """Conv2d(kernel 4, stride 2, padding 1), batch normalisation, activation.

    [N, Cin, H, W] ↦ [N, Cout, ⌊H/2⌋, ⌊W/2⌋]. Computes what
    `nn.Sequential(nn.Conv2d(Cin, Cout, 4, 2, 1), act)`, with `nn.BatchNorm2d` between and without
    the convolution's bias under `norm="batch"`, computes, and has its state_dict: weights go over
    in both directions. In eval mode the normalisation is folded into the weights. Layers that were
    exchanged, hooked, patched or wrapped are called instead, see `FusedBlock`. Fastest in
    channels_last: `block.to(memory_format=torch.channels_last)`, as any convolution.

    Args:
        in_channels: Cin.
        out_channels: Cout.
        norm: "none": the convolution has a bias; or "batch".
        activation: None, "relu", "leaky_relu", "tanh", "sigmoid", or a module, which is computed
            with the convolution where it is one of these and called where it is not.
        impl: "auto", "triton" or "torch", see `kernels.explain`.
        device: of the parameters.
        dtype: of the parameters.
        negative_slope: of "leaky_relu"; another than 0.2 is called.
        **options: of `nn.BatchNorm2d`: eps, momentum, affine, track_running_stats.

    Raises:
        ValueError: unknown `norm`, `activation` or `impl`.
        TypeError: an option that `nn.BatchNorm2d` does not have, or one without normalisation.
    """

    transposed = False

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        norm: Norm = "none",
        activation: ActivationName | nn.Module | None = "leaky_relu",
        impl: Impl = "auto",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        negative_slope: float = NEGATIVE_SLOPE,
        **options: Any,
    ) -> None:
        _check_options(norm, options)
        convolution = nn.Conv2d(
            in_channels, out_channels, 4, 2, 1, bias=norm == "none", device=device, dtype=dtype
        )
        super().__init__(
            convolution,
            nn.BatchNorm2d(out_channels, device=device, dtype=dtype, **options)
            if norm == "batch"
            else None,
            activation_module(activation, negative_slope),
            impl,
        )


_ACTIVATION_MODULES: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
}


def activation_module(
    activation: ActivationName | nn.Module | None, negative_slope: float = NEGATIVE_SLOPE
) -> nn.Module | None:
    """The module that computes an activation given by name; a module itself.

    Raises:
        ValueError: unknown `activation`.
    """
    if activation is None or isinstance(activation, nn.Module):
        return activation
    check_activation(activation)
    if activation == "leaky_relu":
        return nn.LeakyReLU(negative_slope)
    return _ACTIVATION_MODULES[activation]()


def _check_options(norm: str, options: Mapping[str, object]) -> None:
    if norm not in NORMS:
        raise ValueError(f"norm={norm!r} is not known; known: {', '.join(map(repr, NORMS))}")
    if norm == "none" and options:
        raise TypeError(f"{', '.join(options)}: options of a normalisation, but norm='none'")


# --- the operators ---


def _load() -> Callable[..., Tensor]:
    from .autograd.layers import run_layers as run

    return run


def _load_automatic() -> Callable[..., Tensor]:
    from .autograd.layers import run_layers as run

    return partial(run, automatic=True)


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
        b, a = layer.weight.shape[:2]
        normalised = layer.norm is not None and layer.norm.training
        reason = why_torch(
            "dgrad" if layer.transposed else "fprop",
            x,
            b,
            a,
            n * height * width,
            "statistics" if normalised else "plain",
        )
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
    note=called,
    load_automatic=_load_automatic,
)
CONV_TRANSPOSE_BLOCK = register(Operator("conv_transpose_block", run_layers, TRITON))
CONV_BLOCK = register(Operator("conv_block", run_layers, TRITON))
BATCH_NORM_ACTIVATION = register(Operator("batch_norm_activation", run_layers, TRITON))


def operator_of(layer: Layer) -> Operator[[Tensor, Sequence[Layer]], Tensor]:
    """The operator that a single layer is a call of."""
    if layer.weight is None:
        return BATCH_NORM_ACTIVATION
    return CONV_TRANSPOSE_BLOCK if layer.transposed else CONV_BLOCK
