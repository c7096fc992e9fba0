"""Blocks one after the other, without the tensors between normalisation and the next convolution.

A normalised block writes two tensors of the same size: what the convolution gives and, normalised
and activated, what the next one reads. On Triton the second need not exist: the next product
applies both while it loads the first. Forward then neither writes nor saves it, and a third to a
half of the memory that a generator keeps for backward is free.
"""

from collections.abc import Callable, Sequence
from typing import Any, cast

from torch import Tensor, nn

from ..dispatch import Operator, TritonImplementation, check_impl, register, requested
from ..private import has_hooks
from .activations import check_activation
from .blocks import TRITON, FusedBlock, batch_norm_of, by_the_batch, count_batch, operator_of
from .layers import Layer, run_layers


class BatchNormActivation(nn.BatchNorm2d):
    """`nn.BatchNorm2d` and an activation, for a chain that begins with another layer.

    [N, C, H, W] ↦ [N, C, H, W]. Its state_dict is that of `nn.BatchNorm2d`.

    Args:
        num_features: C.
        activation: None, "relu", "leaky_relu" (slope 0.2), "tanh" or "sigmoid".
        impl: "auto", "triton" or "torch", see `kernels.explain`.
        **options: as for `nn.BatchNorm2d`.

    Raises:
        ValueError: unknown `activation` or `impl`.
    """

    def __init__(
        self,
        num_features: int,
        activation: str | None = "relu",
        impl: str = "auto",
        **options: Any,
    ) -> None:
        check_activation(activation)
        check_impl(impl)
        super().__init__(num_features, **options)
        self.activation = activation
        self.impl = impl

    def forward(self, x: Tensor) -> Tensor:
        """activation(batch_norm(x)).

        Raises:
            ValueError: `x` is not of rank 4, or has a single value per channel.
        """
        self.check(x)
        self.count_batch()
        layer = self.layer()
        return operator_of(layer).run(self.impl, x, [layer])

    def check(self, x: Tensor) -> None:
        """Raise what `forward` would for this x, of which only its shape is read."""
        if x.dim() != 4:
            raise ValueError(f"expected 4D input (got {x.dim()}D input)")  # as nn.BatchNorm2d
        if by_the_batch(self) and x.numel() == x.shape[1]:
            raise ValueError(
                f"x of shape {list(x.shape)} gives one value per channel: "
                "batch normalisation by the batch's own statistics needs more"
            )

    def layer(self) -> Layer:
        """What the layer computes at this call."""
        return Layer(None, None, batch_norm_of(self), self.activation, False)

    def count_batch(self) -> None:
        """Count a batch that will move the running statistics."""
        count_batch(self)

    def out_shape(self, shape: Sequence[int]) -> tuple[int, int, int, int]:
        """The input's."""
        n, c, height, width = shape
        return n, c, height, width

    def extra_repr(self) -> str:
        """What `repr` says of the layer."""
        of_norm: str = super().extra_repr()  # type: ignore[no-untyped-call]
        return f"{of_norm}, activation={self.activation!r}, impl={self.impl!r}"


Link = FusedBlock | BatchNormActivation


class FusedSequential(nn.Sequential):
    """`nn.Sequential` that computes neighbouring blocks as one chain where that pays.

    Its results, its state_dict and its gradients are those of `nn.Sequential` with the same
    modules. Any module may stand in it; blocks and `BatchNormActivation` next to one another make
    up chains. A module with hooks is called by itself, so that the hooks see its tensors.
    """

    def forward(self, x: Tensor) -> Tensor:
        """All modules, one after the other: [N, C, H, W] in, what the last one gives out."""
        return chain(x, *self)


def chain(x: Tensor, *modules: nn.Module) -> Tensor:
    """Apply modules one after the other, neighbouring blocks as one chain where that pays.

    For modules that cannot stand in one `FusedSequential`, for the names of their parameters say.

    Args:
        x: what the first module takes.
        *modules: any modules; `ConvTransposeBlock`, `ConvBlock` and `BatchNormActivation` next to
            one another make up chains.

    Returns:
        What the last module gives.

    Raises:
        RuntimeError, ValueError: as the modules themselves would.
        ImplUnavailableError: Triton is asked for where it cannot run.
    """
    links: list[Link] = []
    for module in modules:
        link = _as_link(module)
        if links and (link is None or link.impl != links[0].impl):
            x = _run_links(x, links)
            links = []
        if link is None:
            x = module(x)
        else:
            links.append(link)
    return _run_links(x, links) if links else x


def _as_link(module: nn.Module) -> Link | None:
    """The module where a layer computes it and there is nothing to be called beside it."""
    known = isinstance(module, BatchNormActivation) or (
        isinstance(module, FusedBlock) and module.known
    )
    return None if not known or has_hooks(module) else cast(Link, module)


def _run_links(x: Tensor, links: list[Link]) -> Tensor:
    if len(links) == 1:
        result: Tensor = links[0](x)
        return result
    # Every link is checked before the first one counts its batch. No tensor between two of them
    # may come to exist: one element stands for it.
    seen = x
    for link in links:
        link.check(seen)
        seen = x.new_empty(()).expand(link.out_shape(seen.shape))
    layers = [link.layer() for link in links]
    for link in links:
        link.count_batch()
    impl = links[0].impl
    return CHAIN.run(impl, x, layers, impl)


def _not_all_on_triton(x: Tensor, layers: Sequence[Layer], impl: str) -> Tensor:
    """In PyTorch; on a GPU under "auto" each layer by itself where that is the faster one."""
    if x.device.type == "cpu" or requested(impl).impl == "torch":
        return run_layers(x, layers)
    for layer in layers:
        x = operator_of(layer).run(impl, x, [layer])
    return x


def _load() -> Callable[[Tensor, Sequence[Layer], str], Tensor]:
    run_chain = TRITON.load()

    def run(x: Tensor, layers: Sequence[Layer], impl: str) -> Tensor:
        result: Tensor = run_chain(x, layers)
        return result

    return run


CHAIN = register(
    Operator(
        "conv_chain",
        _not_all_on_triton,
        TritonImplementation(
            load=_load,
            scope=TRITON.scope,
            why_unsupported=lambda x, layers, impl: TRITON.why_unsupported(x, layers),
            why_torch=lambda x, layers, impl: TRITON.why_torch(x, layers),
            why_torch_on=TRITON.why_torch_on,
        ),
    )
)
