"""The two players' losses as functions of logits."""

from collections.abc import Callable
from typing import Any, Literal, overload

import torch
from torch import Tensor

from ..dispatch import Impl, Operator, TritonImplementation, register
from ..private import forward_mode, leaf, transformed
from .definitions import Term
from .names import (
    DEFAULT_OUTPUT,
    DiscriminatorLossWord,
    GeneratorLossWord,
    OutputWord,
    Reduction,
    generator_name,
)
from .objectives import Objective, discriminator_objective, generator_objective
from .statistics import DiscriminatorStatistics, GeneratorStatistics
from .twin import REDUCTIONS, Losses, Measurements, losses_torch


@overload
def discriminator_loss(
    real_logits: Tensor,
    fake_logits: Tensor,
    loss: DiscriminatorLossWord = ...,
    *,
    output: OutputWord = ...,
    a: float = ...,
    b: float = ...,
    real_label: float = ...,
    fake_label: float = ...,
    reduction: Literal["mean", "sum"] = ...,
    real_weights: Tensor | None = ...,
    fake_weights: Tensor | None = ...,
    return_statistics: Literal[False] = ...,
    impl: Impl = ...,
) -> Tensor: ...


@overload
def discriminator_loss(
    real_logits: Tensor,
    fake_logits: Tensor,
    loss: DiscriminatorLossWord = ...,
    *,
    output: OutputWord = ...,
    a: float = ...,
    b: float = ...,
    real_label: float = ...,
    fake_label: float = ...,
    reduction: Literal["mean", "sum"] = ...,
    real_weights: Tensor | None = ...,
    fake_weights: Tensor | None = ...,
    return_statistics: Literal[True],
    impl: Impl = ...,
) -> tuple[Tensor, DiscriminatorStatistics]: ...


@overload
def discriminator_loss(
    real_logits: Tensor,
    fake_logits: Tensor,
    loss: DiscriminatorLossWord = ...,
    *,
    output: OutputWord = ...,
    a: float = ...,
    b: float = ...,
    real_label: float = ...,
    fake_label: float = ...,
    reduction: Literal["none"],
    real_weights: Tensor | None = ...,
    fake_weights: Tensor | None = ...,
    return_statistics: Literal[False] = ...,
    impl: Impl = ...,
) -> Losses: ...


@overload
def discriminator_loss(
    real_logits: Tensor,
    fake_logits: Tensor,
    loss: DiscriminatorLossWord = ...,
    *,
    output: OutputWord = ...,
    a: float = ...,
    b: float = ...,
    real_label: float = ...,
    fake_label: float = ...,
    reduction: Literal["none"],
    real_weights: Tensor | None = ...,
    fake_weights: Tensor | None = ...,
    return_statistics: Literal[True],
    impl: Impl = ...,
) -> tuple[Losses, DiscriminatorStatistics]: ...


@overload
def discriminator_loss(
    real_logits: Tensor,
    fake_logits: Tensor,
    loss: DiscriminatorLossWord = ...,
    *,
    output: OutputWord = ...,
    a: float = ...,
    b: float = ...,
    real_label: float = ...,
    fake_label: float = ...,
    reduction: Reduction = ...,
    real_weights: Tensor | None = ...,
    fake_weights: Tensor | None = ...,
    return_statistics: bool = ...,
    impl: Impl = ...,
) -> Losses | tuple[Losses, DiscriminatorStatistics]: ...


@leaf
def discriminator_loss(
    real_logits: Tensor,
    fake_logits: Tensor,
    loss: DiscriminatorLossWord = "gan",
    *,
    output: OutputWord = DEFAULT_OUTPUT,
    a: float = 0.0,
    b: float = 1.0,
    real_label: float = 1.0,
    fake_label: float = 0.0,
    reduction: Reduction = "mean",
    real_weights: Tensor | None = None,
    fake_weights: Tensor | None = None,
    return_statistics: bool = False,
    impl: Impl = "auto",
) -> Losses | tuple[Losses, DiscriminatorStatistics]:
    """What the discriminator minimises: a mean over real samples plus one over generated ones.

    For an f-divergence E_Q[f*(ν(F))] − E_P[ν(F)], Nowozin et al. 2016, eq. 4. For `gan` that is
    E_P[sp(−F)] + E_Q[sp(F)], the binary cross-entropy of Goodfellow et al. 2014, eq. 1; it is
    2 log 2 where D = ½ everywhere. All formulas and sources: `python -m kernels.losses`.

    Args:
        real_logits: logits of real samples, any shape and floating dtype.
        fake_logits: logits of generated samples; their number may differ from the real ones',
            except for "relativistic", which pairs them in order.
        loss: "gan", "jensen_shannon", "kl", "reverse_kl", "pearson", "squared_hellinger",
            "total_variation", "least_squares", "hinge", "wasserstein" or "relativistic"; or one of
            the other words for these, "bce", "wgan" or "lsgan" for example (`losses.ALIASES`).
        output: the output activation ν of a divergence: "f_gan", that of the f-GAN paper
            ("nowozin" is the same), or "log_ratio", with which F estimates log p/q. Other losses
            take the default only.
        a: target of generated samples' logits, for "least_squares".
        b: target of real samples' logits, for "least_squares", above `a`.
        real_label: label of real samples, for the losses that are a cross-entropy with labels:
            "gan", "jensen_shannon" and, for each pair, "relativistic". 0.9 is one-sided label
            smoothing, Salimans et al. 2016, section 3.4.
        fake_label: label of generated samples, below `real_label`; 0.1 beside 0.9 smooths both
            sides. For "gan" and "jensen_shannon". With either the logit no longer estimates
            log p/q: accuracies are taken where p = q still is, D = (real_label + fake_label)/2,
            and the weights of the statistics are None.
        reduction: "mean", "sum" or "none". "sum" adds the terms of all samples, real and
            generated; for "none" see below.
        real_weights: a constant factor of each real sample's term, of a shape that broadcasts to
            the logits'. The mean divides by the number of samples, not by the sum of the weights,
            as `weight=` of torch's binary cross-entropy does. Not for "relativistic".
        fake_weights: likewise of each generated sample's; for "relativistic" of each pair's.
        return_statistics: also return `DiscriminatorStatistics`; nothing is synchronised.
        impl: "auto", "triton" or "torch", see `explain`.

    Returns:
        The loss, a scalar: computed in and returned as float32, float64 for float64 logits. NaN
        when there are no real or no fake logits, as torch's mean. With `reduction="none"` the
        terms, a pair (of real samples, of generated samples) in the logits' shapes, whose means
        add up to the loss; for "relativistic" one tensor in the real logits' shape. With
        `return_statistics` a pair of all this and the statistics.

    Raises:
        ValueError: unknown `loss`, `output`, `impl` or `reduction`, an option that the loss does
            not have, targets or labels out of order, tensors on different devices, weights of
            another shape, or, for "relativistic", as many real as generated logits are not there.
        TypeError: logits or weights that are not floating-point tensors.
        ImplUnavailableError: `impl="triton"` where Triton cannot run it.
    """
    objective = discriminator_objective(loss, output, a, b, real_label, fake_label)
    _check_logits(real_logits, "real_logits")
    _check_logits(fake_logits, "fake_logits")
    _check_device(real_logits, "real_logits", fake_logits)
    if objective.paired:
        _check_pairs(real_logits, fake_logits, loss)
        if real_weights is not None:
            raise ValueError(
                f"real_weights: loss={loss!r} has one term for each pair; weight it by fake_weights"
            )
    check_reduction(reduction)
    if real_weights is not None:
        real_weights = _weights(real_weights, "real_weights", real_logits)
    if fake_weights is not None:
        fake_weights = _weights(fake_weights, "fake_weights", fake_logits)
    value, measured = _DISCRIMINATOR.run(
        impl,
        fake_logits,
        real_logits,
        real_weights,
        fake_weights,
        None,
        objective,
        reduction,
        return_statistics,
    )
    return value if measured is None else (value, _of_discriminator(measured))


def _of_discriminator(measured: Measurements) -> DiscriminatorStatistics:
    return DiscriminatorStatistics(*measured)  # type: ignore[arg-type]


@overload
def generator_loss(
    fake_logits: Tensor,
    loss: GeneratorLossWord = ...,
    *,
    divergence: DiscriminatorLossWord = ...,
    output: OutputWord = ...,
    c: float = ...,
    log_z: Tensor | float | None = ...,
    real_logits: Tensor | None = ...,
    reduction: Reduction = ...,
    fake_weights: Tensor | None = ...,
    return_statistics: Literal[False] = ...,
    impl: Impl = ...,
) -> Tensor: ...


@overload
def generator_loss(
    fake_logits: Tensor,
    loss: GeneratorLossWord = ...,
    *,
    divergence: DiscriminatorLossWord = ...,
    output: OutputWord = ...,
    c: float = ...,
    log_z: Tensor | float | None = ...,
    real_logits: Tensor | None = ...,
    reduction: Reduction = ...,
    fake_weights: Tensor | None = ...,
    return_statistics: Literal[True],
    impl: Impl = ...,
) -> tuple[Tensor, GeneratorStatistics]: ...


@overload
def generator_loss(
    fake_logits: Tensor,
    loss: GeneratorLossWord = ...,
    *,
    divergence: DiscriminatorLossWord = ...,
    output: OutputWord = ...,
    c: float = ...,
    log_z: Tensor | float | None = ...,
    real_logits: Tensor | None = ...,
    reduction: Reduction = ...,
    fake_weights: Tensor | None = ...,
    return_statistics: bool = ...,
    impl: Impl = ...,
) -> Tensor | tuple[Tensor, GeneratorStatistics]: ...


@leaf
def generator_loss(
    fake_logits: Tensor,
    loss: GeneratorLossWord = "non_saturating",
    *,
    divergence: DiscriminatorLossWord = "gan",
    output: OutputWord = DEFAULT_OUTPUT,
    c: float = 1.0,
    log_z: Tensor | float | None = None,
    real_logits: Tensor | None = None,
    reduction: Reduction = "mean",
    fake_weights: Tensor | None = None,
    return_statistics: bool = False,
    impl: Impl = "auto",
) -> Tensor | tuple[Tensor, GeneratorStatistics]:
    """What the generator minimises. All formulas and sources: `python -m kernels.losses`.

    - `saturating`, the minimax game: −E_Q[f*(ν(F))], Nowozin et al. 2016, eq. 4. For `gan` it is
      −E_Q[sp(F)] = E_Q[log(1 − D)], Goodfellow et al. 2014, eq. 1.
    - `non_saturating`: −E_Q[ν(F)], Nowozin et al. 2016, section 3.2. For `gan` it is
      E_Q[sp(−F)] = −E_Q[log D], Goodfellow et al. 2014, section 3.
    - `boundary_seeking`: E_Q[(log w)²] for the importance weight w ≈ p/q that the discriminator
      implies, Hjelm et al. 2018; with `log_z` E_Q[(log w − log Z)²].
    - `least_squares`: ½E_Q[(F − c)²], Mao et al. 2017.
    - `hinge`, `wasserstein`: −E_Q[F].
    - `relativistic`: E[sp(F(x) − F(G(z)))] over pairs with real samples, Huang et al. 2024.

    Args:
        fake_logits: logits of generated samples, any shape and floating dtype.
        loss: one of the above, or another word for it (`losses.ALIASES`): "ns", "wgan", "lsgan";
            "bce" is `non_saturating` of "gan", the cross-entropy with the label of real samples,
            "minimax" is `saturating`.
        divergence: the loss that the discriminator minimises. The first three follow from it and
            ask for an f-divergence; the others do not depend on it.
        output: that divergence's output activation ν, "f_gan" (or "nowozin") or "log_ratio".
        c: target of the logits, for "least_squares".
        log_z: log Z of "boundary_seeking", a number or a 0-d tensor on the logits' device, a
            constant for the gradient; `update_log_z` maintains it.
        real_logits: logits of as many real samples, for "relativistic".
        reduction: "mean", "sum" or "none": the terms in the logits' shape (for "relativistic" in
            the real logits').
        fake_weights: a constant factor of each term, as in `discriminator_loss`.
        return_statistics: also return `GeneratorStatistics`; nothing is synchronised.
        impl: "auto", "triton" or "torch", see `explain`.

    Returns:
        The loss, a scalar: computed in and returned as float32, float64 for float64 logits. NaN
        when there are no logits, as torch's mean. With `return_statistics` a pair of it and the
        statistics.

    Raises:
        ValueError: unknown `loss`, `divergence`, `output`, `impl` or `reduction`, a loss that the
            divergence does not define (`boundary_seeking` for `total_variation`, and for `pearson`
            with "f_gan"), an option that the loss does not have or real logits that it needs,
            tensors on different devices, or weights of another shape.
        TypeError: logits or weights that are not floating-point tensors.
        ImplUnavailableError: `impl="triton"` where Triton cannot run it.
    """
    objective = generator_objective(loss, divergence, output, c)
    _check_logits(fake_logits, "fake_logits")
    if objective.paired:
        if real_logits is None:
            raise ValueError(f"real_logits is None: loss={loss!r} compares with real samples")
        _check_logits(real_logits, "real_logits")
        _check_device(real_logits, "real_logits", fake_logits)
        _check_pairs(real_logits, fake_logits, loss)
    elif real_logits is not None:
        raise ValueError(f"real_logits: only loss='relativistic' reads them, not loss={loss!r}")
    check_reduction(reduction)
    if fake_weights is not None:
        fake_weights = _weights(fake_weights, "fake_weights", fake_logits)
    if log_z is not None:
        objective, log_z = _centred(objective, log_z, loss, fake_logits)
    value, measured = _GENERATOR.run(
        impl,
        fake_logits,
        real_logits,
        None,
        fake_weights,
        log_z,
        objective,
        reduction,
        return_statistics,
    )
    assert isinstance(value, Tensor)
    return value if measured is None else (value, _of_generator(measured))


def _of_generator(measured: Measurements) -> GeneratorStatistics:
    _, fake_logit, _, _, *others = measured
    return GeneratorStatistics(fake_logit, *others)  # type: ignore[arg-type]


def _centred(
    objective: Objective, log_z: Tensor | float, loss: str, fake_logits: Tensor
) -> tuple[Objective, Tensor | None]:
    """The objective with log Z taken off: at once for a number, later for a tensor."""
    if generator_name(loss) != "boundary_seeking":
        raise ValueError(f"log_z: only loss='boundary_seeking' has a centre, not loss={loss!r}")
    if not isinstance(log_z, Tensor):
        term: Term = objective.fake
        return objective._replace(fake=term._replace(shift=term.shift - log_z)), None
    if log_z.dim() != 0:
        raise ValueError(f"log_z has shape {list(log_z.shape)}: expected a number or a 0-d tensor")
    _check_device(log_z, "log_z", fake_logits)
    return objective, log_z.detach()


def _check_logits(logits: Tensor, argument: str, what: str = "logits") -> None:
    if not isinstance(logits, Tensor):
        raise TypeError(f"{argument} is a {type(logits).__name__}: it must be a tensor of {what}")
    if not logits.is_floating_point():
        raise TypeError(
            f"{argument} has dtype {logits.dtype}: {what} must be floating point "
            "(float16, bfloat16, float32 or float64)"
        )


def _check_device(tensor: Tensor, argument: str, fake_logits: Tensor) -> None:
    if tensor.device != fake_logits.device:
        raise ValueError(
            f"{argument} on {tensor.device}, but fake_logits on {fake_logits.device}: "
            "all must be on one device"
        )


def _check_pairs(real_logits: Tensor, fake_logits: Tensor, loss: str) -> None:
    if real_logits.numel() != fake_logits.numel():
        raise ValueError(
            f"loss={loss!r} compares pairs, but there are {real_logits.numel()} real_logits and "
            f"{fake_logits.numel()} fake_logits: expected as many"
        )


def check_reduction(reduction: Reduction) -> None:
    """Raise ValueError for an unknown reduction."""
    if reduction not in REDUCTIONS:
        known = ", ".join(map(repr, REDUCTIONS))
        raise ValueError(f"reduction={reduction!r} is not known; known are {known}")


def _weights(weights: Tensor, argument: str, logits: Tensor) -> Tensor:
    """Weights in the logits' shape, constants."""
    _check_logits(weights, argument, "weights")
    _check_device(weights, argument, logits)
    try:
        return weights.detach().expand(logits.shape)
    except RuntimeError:
        raise ValueError(
            f"{argument} has shape {list(weights.shape)}: expected one that broadcasts to the "
            f"logits' shape {list(logits.shape)}"
        ) from None


def _load_triton() -> Callable[..., tuple[Losses, Measurements | None]]:
    from .autograd import losses_triton

    return losses_triton


def _why_unsupported(fake: Tensor, real: Tensor | None, *_: Any) -> str | None:
    """Why the kernels cannot compute a call, or None."""
    for name, each in (("fake_logits", fake), ("real_logits", real)):
        if each is not None and each.dtype == torch.float64:
            return f"{name} are float64, and the kernels compute in float32"
    if not torch.compiler.is_compiling():
        if transformed():
            return "a transform of torch.func looks inside the operator"
        if forward_mode():
            return "forward-mode differentiation looks inside the operator"
    return None


_TRITON = TritonImplementation(
    load=_load_triton,
    scope="float16, bfloat16 and float32 logits of any shape, every loss",
    why_unsupported=_why_unsupported,
    # One launch against a dozen: not known to be slower at any size.
    why_torch=lambda *_: None,
)
_DISCRIMINATOR = register(Operator("discriminator_loss", losses_torch, _TRITON))
_GENERATOR = register(Operator("generator_loss", losses_torch, _TRITON))
