"""The two players' losses as functions of logits."""

from typing import Literal, NamedTuple, overload

import torch
from torch import Tensor

from ..dispatch import Operator, register
from .terms import discriminator_row, generator_gain

_WIDE = (torch.float32, torch.float64)


class DiscriminatorStatistics(NamedTuple):
    """What a discriminator step is worth logging: detached scalars on the logits' device.

    A sample is taken for real when its logit is above the level at which the discriminator holds
    both equally likely (for `gan` D = ½, F = 0), and for generated otherwise; NaN is neither.

    Attributes:
        real_logit: mean logit of the real samples.
        fake_logit: mean logit of the generated samples.
        real_accuracy: share of the real samples taken for real.
        fake_accuracy: share of the generated samples taken for generated.
    """

    real_logit: Tensor
    fake_logit: Tensor
    real_accuracy: Tensor
    fake_accuracy: Tensor


@overload
def discriminator_loss(
    real_logits: Tensor,
    fake_logits: Tensor,
    loss: str = ...,
    output: str = ...,
    impl: str = ...,
    return_statistics: Literal[False] = ...,
) -> Tensor: ...


@overload
def discriminator_loss(
    real_logits: Tensor,
    fake_logits: Tensor,
    loss: str = ...,
    output: str = ...,
    impl: str = ...,
    *,
    return_statistics: Literal[True],
) -> tuple[Tensor, DiscriminatorStatistics]: ...


@overload
def discriminator_loss(
    real_logits: Tensor,
    fake_logits: Tensor,
    loss: str = ...,
    output: str = ...,
    impl: str = ...,
    return_statistics: bool = ...,
) -> Tensor | tuple[Tensor, DiscriminatorStatistics]: ...


def discriminator_loss(
    real_logits: Tensor,
    fake_logits: Tensor,
    loss: str = "gan",
    output: str = "nowozin",
    impl: str = "auto",
    return_statistics: bool = False,
) -> Tensor | tuple[Tensor, DiscriminatorStatistics]:
    """What the discriminator minimises: E_Q[f*(ν(F))] − E_P[ν(F)], Nowozin et al. 2016, eq. 4.

    For `gan` that is E_P[sp(−F)] + E_Q[sp(F)], the binary cross-entropy of Goodfellow et al. 2014,
    eq. 1; it is 2 log 2 where D = ½ everywhere. Formulas and sources stand in `terms.py`.

    Args:
        real_logits: logits of real samples, any shape and floating dtype.
        fake_logits: logits of generated samples; their number may differ from the real ones'.
        loss: a discriminator loss: "gan".
        output: the output activation ν of a divergence: "nowozin".
        impl: "auto", "triton" or "torch", see `kernels.explain`.
        return_statistics: also return `DiscriminatorStatistics`; nothing is synchronised.

    Returns:
        The loss, a scalar: computed in and returned as float32, float64 for float64 logits. NaN
        when there are no real or no fake logits, as torch's mean. With `return_statistics` a pair
        of it and the statistics.

    Raises:
        ValueError: unknown `loss`, `output` or `impl`, or logits on different devices.
        TypeError: logits that are not floating-point tensors.
        ImplUnavailableError: `impl="triton"` where Triton cannot run it.
    """
    _check_logits(real_logits, "real_logits")
    _check_logits(fake_logits, "fake_logits")
    if real_logits.device != fake_logits.device:
        raise ValueError(
            f"real_logits are on {real_logits.device} and fake_logits on {fake_logits.device}: "
            "both must be on one device"
        )
    value, statistics = _DISCRIMINATOR.run(
        impl, real_logits, fake_logits, loss, output, return_statistics
    )
    return value if statistics is None else (value, statistics)


def generator_loss(
    fake_logits: Tensor,
    loss: str = "non_saturating",
    divergence: str = "gan",
    output: str = "nowozin",
    impl: str = "auto",
) -> Tensor:
    """What the generator minimises.

    - `saturating`, the minimax game: −E_Q[f*(ν(F))], Nowozin et al. 2016, eq. 4. For `gan` it is
      −E_Q[sp(F)] = E_Q[log(1 − D)], Goodfellow et al. 2014, eq. 1.
    - `non_saturating`: −E_Q[ν(F)], Nowozin et al. 2016, section 3.2. For `gan` it is
      E_Q[sp(−F)] = −E_Q[log D], Goodfellow et al. 2014, section 3.

    Args:
        fake_logits: logits of generated samples, any shape and floating dtype.
        loss: "saturating" or "non_saturating".
        divergence: the divergence that the discriminator's loss estimates: "gan".
        output: that divergence's output activation ν: "nowozin".
        impl: "auto", "triton" or "torch", see `kernels.explain`.

    Returns:
        The loss, a scalar: computed in and returned as float32, float64 for float64 logits. NaN
        when there are no logits, as torch's mean.

    Raises:
        ValueError: unknown `loss`, `divergence`, `output` or `impl`.
        TypeError: logits that are not a floating-point tensor.
        ImplUnavailableError: `impl="triton"` where Triton cannot run it.
    """
    _check_logits(fake_logits, "fake_logits")
    return _GENERATOR.run(impl, fake_logits, loss, divergence, output)


def _check_logits(logits: Tensor, argument: str) -> None:
    if not isinstance(logits, Tensor):
        raise TypeError(f"{argument} is a {type(logits).__name__}: it must be a tensor of logits")
    if not logits.is_floating_point():
        raise TypeError(
            f"{argument} has dtype {logits.dtype}: logits must be floating point "
            "(float16, bfloat16, float32 or float64)"
        )


def _widen(logits: Tensor) -> Tensor:
    return logits if logits.dtype in _WIDE else logits.float()


def _discriminator_torch(
    real_logits: Tensor, fake_logits: Tensor, loss: str, output: str, return_statistics: bool
) -> tuple[Tensor, DiscriminatorStatistics | None]:
    row = discriminator_row(loss, output)
    real, fake = _widen(real_logits), _widen(fake_logits)
    value = row.fake(fake).mean() - row.real(real).mean()
    if not return_statistics:
        return value, None
    with torch.no_grad():
        statistics = DiscriminatorStatistics(
            real_logit=real.mean(),
            fake_logit=fake.mean(),
            real_accuracy=(real > row.threshold).to(real.dtype).mean(),
            fake_accuracy=(fake <= row.threshold).to(fake.dtype).mean(),
        )
    return value, statistics


def _generator_torch(fake_logits: Tensor, loss: str, divergence: str, output: str) -> Tensor:
    gain = generator_gain(loss, divergence, output)
    return -gain(_widen(fake_logits)).mean()


_DISCRIMINATOR = register(Operator("discriminator_loss", _discriminator_torch))
_GENERATOR = register(Operator("generator_loss", _generator_torch))
