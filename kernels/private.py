"""All that this package takes from torch beside its public interface, with the reason for each.

Another version of torch may not have these: what then has to be changed stands here and nowhere
else.
"""

from collections.abc import Callable, Mapping
from typing import TypeVar

import torch
from torch import Tensor, fx, nn
from torch.autograd import forward_ad

F = TypeVar("F", bound=Callable[..., object])


def transformed() -> bool:
    """Whether a transform of torch.func (vmap, grad, jvp) is active.

    An autograd.Function without rules of its own, or a kernel, cannot be looked into, and torch
    has no public name for the question.
    """
    return torch._C._are_functorch_transforms_active()


def forward_mode() -> bool:
    """Whether forward-mode differentiation is active, which has no public name for it either."""
    return forward_ad._current_level >= 0


def eager() -> bool:
    """Whether operations are computed as they are called, not recorded, faked nor transformed.

    Only then may what is computed depend on a tensor's size or values: a graph of torch.compile,
    torch.export, make_fx or torch.jit is for all of them. The number of modes that see every
    operation has no public name.
    """
    return not (
        torch.compiler.is_compiling()
        or torch._C._are_functorch_transforms_active()
        or torch._C._len_torch_dispatch_stack() > 0
        or torch._C._get_tracing_state() is not None
    )


def looked_into(*tensors: Tensor) -> bool:
    """Whether a transform, forward mode or a trace is active, which know torch's operators alone.

    Or whether a tensor stands for a batch of gradients: that of `torch.autograd.grad` with
    `is_grads_batched` is a transform of an older kind, which only its tensors tell of.
    """
    if transformed() or forward_mode() or torch._C._get_tracing_state() is not None:
        return True
    return any(torch._C._functorch.is_legacy_batchedtensor(tensor) for tensor in tensors)


def recorded(value: object) -> bool:
    """Whether a trace records modules: torch.fx, whose values tell nothing, or torch.jit."""
    return isinstance(value, fx.Proxy) or torch._C._get_tracing_state() is not None


def record_call(function: Callable[..., object], arguments: Mapping[str, object]) -> object | None:
    """The call as one node of the graph that torch.fx records, or None where none of it is one's.

    A stand-in of torch.fx is no tensor, and answers no question of shape, dtype or device.
    """
    for value in arguments.values():
        if isinstance(value, fx.Proxy):
            return value.tracer.create_proxy("call_function", function, (), dict(arguments))
    return None


def constant_while_tracing(function: F) -> F:
    """Have Dynamo call the function while it traces, and keep the result.

    This is what `torch.compiler.assume_constant_result` sets; calling that would import all of
    Dynamo together with this package.
    """
    function._dynamo_marked_constant = True  # type: ignore[attr-defined]
    return function


def has_hooks(module: nn.Module) -> bool:
    """Whether calling the module also calls hooks, which a fused computation would leave out.

    Its own, or those that torch calls for every module.
    """
    return bool(
        module._forward_hooks
        or module._forward_pre_hooks
        or module._backward_hooks
        or module._backward_pre_hooks
        or nn.modules.module._has_any_global_hook()
    )
