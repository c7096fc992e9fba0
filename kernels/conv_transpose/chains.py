"""Blocks one after the other, without the tensors between normalisation and the next convolution.

A normalised block writes two tensors of the same size: what the convolution gives and, normalised
and activated, what the next one reads. On Triton the second need not exist: the next product can
apply both while it loads the first. Forward then neither writes nor saves it, and a third to a
half of the memory that a generator keeps for backward is free. But a product loads an element some
16 to 32 times, and computes both each time: on CUDA it does so only where the tuning table has it
measured as the faster way (`tiles.folds`).
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from torch import Tensor, nn

from ..dispatch import Impl, Operator, TritonImplementation, check_impl, register, requested
from ..private import has_hooks, recorded
from .activations import ActivationName
from .blocks import (
    TRITON,
    FusedBlock,
    activation_module,
    check_layer,
    operator_of,
    out_shape,
    run_layer,
)
from .layers import Layer, Promise, run_layers
from .recognise import count_batch, recognise


class _Link(NamedTuple):
    """What modules next to one another compute as one layer."""

    layer: Layer
    norm: nn.BatchNorm2d | None
    impl: str | None  # None: whatever its neighbours ask for


class FusedSequential(nn.Sequential):
    """`nn.Sequential` that computes neighbouring blocks as one chain where that pays.

    Its results, its state_dict and its gradients are those of `nn.Sequential` with the same
    modules. Any module may stand in it; blocks next to one another make up chains, and so does an
    `nn.BatchNorm2d` with the activation after it. What has hooks is called by itself, so that the
    hooks see its tensors.
    """

    def forward(self, x: Tensor) -> Tensor:
        """All modules, one after the other: [N, C, H, W] in, what the last one gives out."""
        return chain(x, *self)


def chain(x: Tensor, *modules: nn.Module) -> Tensor:
    """Apply modules one after the other, neighbouring blocks as one chain where that pays.

    For modules that cannot stand in one `FusedSequential`, for the names of their parameters say.

    Args:
        x: what the first module takes.
        *modules: any modules; `ConvTransposeBlock`, `ConvBlock`, and `nn.BatchNorm2d` with the
            activation after it, next to one another make up chains.

    Returns:
        What the last module gives.

    Raises:
        RuntimeError, ValueError: as the modules themselves would.
        ImplUnavailableError: Triton is asked for where it cannot run.
    """
    if recorded(x):  # a trace records the modules
        for module in modules:
            x = module(x)
        return x
    links: list[_Link] = []
    place = 0
    while place < len(modules):
        found = _at(modules, place)
        link = found.link
        if links and (link is None or not _same_impl([*links, link])):
            x = _run_links(x, links)
            links = []
        if link is None:
            x = found.call(x)
        else:
            links.append(link)
        place += found.length
    return _run_links(x, links) if links else x


class BatchNormActivation(FusedSequential):
    """`nn.BatchNorm2d` and an activation, two modules under the keys of `nn.BatchNorm2d` alone.

    [N, C, H, W] ↦ [N, C, H, W]. As the two side by side; for a network whose checkpoints were those
    of a single layer.

    Args:
        num_features: C.
        activation: None, "relu", "leaky_relu", "tanh", "sigmoid", or a module.
        impl: "auto", "triton" or "torch", see `kernels.explain`.
        **options: as for `nn.BatchNorm2d`.

    Raises:
        ValueError: unknown `activation` or `impl`.
    """

    def __init__(
        self,
        num_features: int,
        activation: ActivationName | nn.Module | None = "relu",
        impl: Impl = "auto",
        **options: Any,
    ) -> None:
        second = activation_module(activation)
        norm = nn.BatchNorm2d(num_features, **options)
        super().__init__(*([norm] if second is None else [norm, second]))
        self.impl = check_impl(impl)
        self.register_state_dict_post_hook(_without_place)  # type: ignore[no-untyped-call]
        self.register_load_state_dict_pre_hook(_with_place)  # type: ignore[no-untyped-call]

    def forward(self, x: Tensor) -> Tensor:
        """activation(batch_norm(x)).

        Raises:
            ValueError: `x` is not of rank 4, or has a single value per channel.
        """
        found = recognise(list(self), None)
        if recorded(x) or found.layer is None or found.length < len(self):
            return super().forward(x)
        return run_layer(x, found.layer, found.norm, self.impl)

    @property
    def weight(self) -> Tensor:
        """The normalisation's."""
        return next(iter(self), None).weight  # type: ignore[union-attr, return-value]

    @property
    def bias(self) -> Tensor:
        """The normalisation's."""
        return next(iter(self), None).bias  # type: ignore[union-attr, return-value]

    def extra_repr(self) -> str:
        """What `repr` says of the module."""
        return f"impl={self.impl!r}"


def _without_place(module: nn.Module, state: dict[str, Any], prefix: str, _: object) -> None:
    for key in [key for key in state if key.startswith(f"{prefix}0.")]:
        state[prefix + key.removeprefix(f"{prefix}0.")] = state.pop(key)


def _with_place(module: nn.Module, state: dict[str, Any], prefix: str, *_: object) -> None:
    assert isinstance(module, BatchNormActivation)
    own = {name for name, _ in (*module[0].named_parameters(), *module[0].named_buffers())}
    for name in own & {key.removeprefix(prefix) for key in state if key.startswith(prefix)}:
        state[f"{prefix}0.{name}"] = state.pop(prefix + name)


class _Found(NamedTuple):
    """What stands at a place of a chain."""

    link: _Link | None
    call: Callable[[Tensor], Tensor]  # where it is no link
    length: int  # in modules


def _at(modules: Sequence[nn.Module], place: int) -> _Found:
    module = modules[place]
    if isinstance(module, FusedBlock):
        own = type(module).forward is FusedBlock.forward and "forward" not in module.__dict__
        if not own or has_hooks(module):
            return _Found(None, module, 1)
        of_block = module.recognised()
        if of_block.layer is None or of_block.length < len(module):
            # Not by a call, which would evaluate a parametrisation once more.
            return _Found(None, lambda x: module.compute(x, of_block), 1)
        return _Found(_Link(of_block.layer, of_block.norm, module.impl), module, 1)
    if type(module) is BatchNormActivation and not has_hooks(module):
        pair = recognise(list(module), None)
        if pair.layer is not None and pair.length == len(module):
            return _Found(_Link(pair.layer, pair.norm, module.impl), module, 1)
    if type(module) is nn.BatchNorm2d:
        pair = recognise(modules[place : place + 2], None)
        if pair.layer is not None:
            return _Found(_Link(pair.layer, pair.norm, None), module, pair.length)
    return _Found(None, module, 1)


def _same_impl(links: list[_Link]) -> bool:
    return len({link.impl for link in links} - {None}) <= 1


def _run_links(x: Tensor, links: list[_Link]) -> Tensor:
    impl = next((link.impl for link in links if link.impl is not None), "auto")
    if len(links) == 1 or x.dim() == 3:
        for link in links:
            x = run_layer(x, link.layer, link.norm, impl)
        return x
    # Every link is checked before the first one counts its batch.
    seen: Tensor | Promise = x
    for link in links:
        check_layer(seen, link.layer)
        seen = Promise(out_shape(link.layer, seen.shape), x.dtype, x.device)
    for link in links:
        if link.norm is not None:
            count_batch(link.norm)
    return CHAIN.run(impl, x, [link.layer for link in links], impl)


def _not_all_on_triton(x: Tensor, layers: Sequence[Layer], impl: str) -> Tensor:
    """In PyTorch; on a GPU under "auto" each layer by itself where that is the faster one."""
    if x.device.type == "cpu" or requested(impl).impl == "torch":
        return run_layers(x, layers)
    for layer in layers:
        x = operator_of(layer).run(impl, x, [layer])
    return x


def _load(impl: str) -> Callable[[Tensor, Sequence[Layer], str], Tensor]:
    run_chain = TRITON.function(impl)

    def run(x: Tensor, layers: Sequence[Layer], impl: str) -> Tensor:
        result: Tensor = run_chain(x, layers)
        return result

    return run


CHAIN = register(
    Operator(
        "conv_chain",
        _not_all_on_triton,
        TritonImplementation(
            load=lambda: _load("triton"),
            scope=TRITON.scope,
            why_unsupported=lambda x, layers, impl: TRITON.why_unsupported(x, layers),
            why_torch=lambda x, layers, impl: TRITON.why_torch(x, layers),
            why_torch_on=TRITON.why_torch_on,
            load_automatic=lambda: _load("auto"),
        ),
    )
)
