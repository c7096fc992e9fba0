"""All that this package takes from torch beside its public interface, with the reason for each.

Another version of torch may not have these: what then has to be changed stands here and nowhere
else.
"""

import functools
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import torch
from torch import Tensor, fx, nn
from torch.autograd import forward_ad
from torch.utils import _pytree as pytree

F = TypeVar("F", bound=Callable[..., object])
P = ParamSpec("P")
R = TypeVar("R")


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


def intercepted(*tensors: Tensor) -> bool:
    """Whether something takes the operators for itself: FakeTensor mode or make_fx, for example.

    It sees those that go through torch's dispatcher alone, and may have no values to read.
    """
    if torch._C._len_torch_dispatch_stack() > 0:
        return True
    own = Tensor.__torch_dispatch__
    return any(type(tensor).__torch_dispatch__ is not own for tensor in tensors)


def count_operations(operator: object, formula: Callable[..., int]) -> None:
    """Tell `torch.utils.flop_counter` what a call of an operator costs.

    A counter copies the table when it is made, so that those that are counting are told too.

    Args:
        operator: of `torch.ops`, without its overload.
        formula: of the shapes of its operands and, as `out_shape`, of its result.
    """
    # Imported where it is needed: it imports Triton.
    from torch.utils import flop_counter
    from torch.utils._python_dispatch import _get_current_dispatch_mode_stack

    flop_counter.register_flop_formula(operator)(formula)
    for mode in _get_current_dispatch_mode_stack():
        counter = getattr(mode, "counter", None)
        if isinstance(counter, flop_counter.FlopCounterMode):
            counter.flop_registry[operator] = flop_counter.flop_registry[operator]


def traced_by_jit() -> bool:
    """Whether torch.jit traces: `torch.jit.is_tracing` is in no interface that is declared."""
    return torch._C._get_tracing_state() is not None


def recorded(value: object) -> bool:
    """Whether a trace records modules: torch.fx, whose values tell nothing, or torch.jit."""
    return isinstance(value, fx.Proxy) or torch._C._get_tracing_state() is not None


def leaf(function: Callable[P, R]) -> Callable[P, R]:
    """Have torch.fx record a call of the function as one node.

    A module's function that looks at its arguments is a leaf to `torch.fx.wrap` only where it is
    called by its own module's name.
    """

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        for value in (*args, *kwargs.values()):
            if isinstance(value, fx.Proxy):
                node: Any = value.tracer.create_proxy("call_function", call, args, kwargs)
                return node  # type: ignore[no-any-return]
        return function(*args, **kwargs)

    return call


def exportable(named_tuple: type[tuple[Any, ...]]) -> None:
    """Let torch.export save programs that return such a tuple, under the class's own name."""
    pytree._register_namedtuple(
        named_tuple, serialized_type_name=f"{named_tuple.__module__}.{named_tuple.__qualname__}"
    )


def shape_of(tensor: Tensor) -> tuple[int, ...]:
    """The shape as integers, to be compared: while torch.jit traces, `tensor.shape` has tensors."""
    state: Any = torch._C._get_tracing_state()
    if state is None:
        return tensor.shape
    torch._C._set_tracing_state(None)  # type: ignore[attr-defined]
    try:
        return tensor.shape
    finally:
        torch._C._set_tracing_state(state)  # type: ignore[attr-defined]


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
