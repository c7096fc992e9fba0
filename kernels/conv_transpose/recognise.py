"""Which of PyTorch's layers are computed here instead of being called, and why others are not.

A block computes its layers together, from their weights. Whoever exchanges, hooks, patches or wraps
a layer means what that layer does when it is called. So what is computed together is read off the
layers at every call, as far as each one does exactly what its class in torch does, and from the
first one that does not, all are called.
"""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import nn
from torch.nn.utils import parametrize

from ..private import has_hooks
from .activations import NEGATIVE_SLOPE, ActivationName
from .definitions.normalisation import BatchNorm
from .geometry import KERNEL
from .layers import Layer

_CONVOLUTIONS: dict[bool, type[nn.Conv2d] | type[nn.ConvTranspose2d]] = {
    False: nn.Conv2d,
    True: nn.ConvTranspose2d,
}
_ACTIVATIONS: dict[type[nn.Module], ActivationName] = {
    nn.ReLU: "relu",
    nn.LeakyReLU: "leaky_relu",
    nn.Tanh: "tanh",
    nn.Sigmoid: "sigmoid",
}


def _forward_of(kind: type[nn.Module]) -> object:
    return kind.forward


# Their own forward methods, to notice when one is patched.
_FORWARDS: dict[type[nn.Module], object] = {
    kind: _forward_of(kind)
    for kind in (nn.Conv2d, nn.ConvTranspose2d, nn.BatchNorm2d, *_ACTIVATIONS)
}
# What is computed is a convolution with exactly these.
_GEOMETRY: dict[str, object] = {
    "kernel_size": KERNEL,
    "stride": (2, 2),
    "padding": (1, 1),
    "output_padding": (0, 0),
    "dilation": (1, 1),
    "groups": 1,
    "padding_mode": "zeros",
}

_called: Counter[str] = Counter()


def note_called(reason: str) -> None:
    """Count a call that left layers to themselves, for `explain`."""
    if not torch.compiler.is_compiling():  # a traced counter would recompile at every call
        _called[reason] += 1


def called() -> str:
    """For which reasons layers of blocks have been called one by one in this process."""
    if not _called:
        return "layers of blocks called one by one so far: none"
    reasons = "; ".join(f"{reason} ({count}×)" for reason, count in sorted(_called.items()))
    return f"layers of blocks called one by one so far: {reasons}"


class Recognised(NamedTuple):
    """What modules compute together at this call.

    Attributes:
        layer: of the first `length` modules; None where there are none.
        norm: the normalisation among them.
        length: how many they are.
        reason: why the module after these is called; None where there is none.
    """

    layer: Layer | None
    norm: nn.BatchNorm2d | None
    length: int
    reason: str | None


def recognise(modules: Sequence[nn.Module], transposed: bool | None) -> Recognised:
    """Read a convolution, its normalisation and its activation, each but the first optional.

    The parameters are read once, so that a parametrisation is evaluated once.

    Args:
        modules: one after the other.
        transposed: whether the convolution is; None where the normalisation comes first.
    """
    if transposed is None:
        weight, bias, length = None, None, 0
    elif not modules:
        return Recognised(None, None, 0, None)
    else:
        convolution = modules[0]
        reason = _why_called(convolution, _CONVOLUTIONS[transposed])
        if reason is not None:
            return Recognised(None, None, 0, reason)
        assert isinstance(convolution, (nn.Conv2d, nn.ConvTranspose2d))
        weight, bias, length = convolution.weight, convolution.bias, 1
    norm, reason = _norm_at(modules, length)
    length += norm is not None
    activation = None
    if length and reason is None:
        activation, reason = _activation_at(modules, length)
        length += activation is not None
    if length == 0:
        return Recognised(None, None, 0, reason)
    state = None if norm is None else batch_norm_of(norm)
    layer = Layer(weight, bias, state, activation, bool(transposed))
    return Recognised(layer, norm, length, reason)


def _norm_at(modules: Sequence[nn.Module], place: int) -> tuple[nn.BatchNorm2d | None, str | None]:
    """The normalisation that stands there, or why what stands there is called."""
    if place == len(modules) or _class_of(modules[place]) in _ACTIVATIONS:
        return None, None
    norm = modules[place]
    reason = _why_called(norm, nn.BatchNorm2d)
    if reason is not None:
        return None, reason
    assert isinstance(norm, nn.BatchNorm2d)
    return norm, None


def _activation_at(
    modules: Sequence[nn.Module], place: int
) -> tuple[ActivationName | None, str | None]:
    """The name of the activation that stands there, or why what stands there is called."""
    if place == len(modules):
        return None, None
    kind = _class_of(modules[place])
    if kind not in _ACTIVATIONS:
        return None, _why_called(modules[place], nn.ReLU)
    reason = _why_called(modules[place], kind)
    return (None, reason) if reason is not None else (_ACTIVATIONS[kind], None)


def _class_of(module: nn.Module) -> type[nn.Module]:
    """The module's class, for a parametrised module the one that it had before."""
    kind = type(module)
    if kind in _FORWARDS or not parametrize.is_parametrized(module):
        return kind
    before = parametrize.type_before_parametrizations(module)
    return before if issubclass(before, nn.Module) else kind


def _why_called(module: nn.Module, expected: type[nn.Module]) -> str | None:
    """Why a module is called rather than computed as one of class `expected`, or None."""
    kind = _class_of(module)
    if kind is not expected:
        return f"{kind.__name__} is none of the layers that are computed together"
    if "forward" in module.__dict__ or _forward_of(kind) is not _FORWARDS[kind]:
        return f"the forward method of {kind.__name__} is patched"
    if has_hooks(module):
        return f"{kind.__name__} has hooks"
    if kind is nn.LeakyReLU:
        slope = module.negative_slope
        return None if slope == NEGATIVE_SLOPE else f"LeakyReLU has the slope {slope}"
    if kind is nn.Conv2d or kind is nn.ConvTranspose2d:
        for name, wanted in _GEOMETRY.items():
            given = getattr(module, name)
            if given != wanted:
                return f"{kind.__name__} has {name}={given!r}"
    return None


# --- batch normalisation as it is at one call ---


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
