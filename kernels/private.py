"""All that this package takes from torch beside its public interface, with the reason for each.

Another version of torch may not have these: what then has to be changed stands here and nowhere
else.
"""

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import nn
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


def constant_while_tracing(function: F) -> F:
    """Have Dynamo call the function while it traces, and keep the result.

    This is what `torch.compiler.assume_constant_result` sets; calling that would import all of
    Dynamo together with this package.
    """
    function._dynamo_marked_constant = True  # type: ignore[attr-defined]
    return function


def has_hooks(module: nn.Module) -> bool:
    """Whether calling the module also calls hooks, which a fused computation would leave out."""
    return any(
        (
            module._forward_hooks,
            module._forward_pre_hooks,
            module._backward_hooks,
            module._backward_pre_hooks,
        )
    )
