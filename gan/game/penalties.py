"""Penalties on the slope of the discriminator, exact for every sample, in fp32.

F is the discriminator, as a function of one sample. All are means over a batch of something of a
sample's own ∇F, which is what a sum of logits has as its gradient, provided that no logit depends
on another sample: batch normalisation breaks that (see `gan.config.soundness`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from gan.config import PenaltiesConfig

# Under the root of a norm: the gradient of a root at 0 is infinite. Its effect on a norm of 1, to
# which the gradient penalty draws it, is 5·10⁻¹³, which fp32 does not see.
EPSILON = 1e-12


class Seen(NamedTuple):
    """A batch and what the discriminator said to it.

    Attributes:
        inputs: `[B, …]`, a leaf that requires a gradient.
        logits: `[B]`, computed from `inputs`.
    """

    inputs: Tensor
    logits: Tensor


def squared_slopes(logits: Tensor, inputs: Tensor) -> Tensor:
    """‖∇F(x)‖² of each sample, `[B]`, in fp32 or better, differentiable.

    Args:
        logits: `[B]`; each must depend on its own sample alone.
        inputs: `[B, …]`, from which `logits` were computed.
    """
    (gradient,) = torch.autograd.grad(logits.sum(), inputs, create_graph=True)
    squares = gradient.flatten(1).to(torch.promote_types(gradient.dtype, torch.float32)).square()
    return squares.sum(1)


def squared_gradient(logits: Tensor, inputs: Tensor) -> Tensor:
    """E‖∇F(x)‖², a scalar: R1 on real samples, R2 on generated ones, but for the factor γ/2.

    Mescheder et al. 2018 (arXiv 1801.04406), eq. 9 and 10. Arguments as `squared_slopes`.
    """
    return squared_slopes(logits, inputs).mean()


def one_lipschitz(logits: Tensor, inputs: Tensor) -> Tensor:
    """E(‖∇F(x̂)‖₂ − 1)², a scalar: the gradient penalty but for λ.

    Gulrajani et al. 2017 (arXiv 1704.00028), eq. 3. Arguments as `squared_slopes`.
    """
    return (squared_slopes(logits, inputs) + EPSILON).sqrt().sub(1).square().mean()


def interpolate(real: Tensor, fake: Tensor, rng: torch.Generator) -> Tensor:
    """x̂ = ε·x + (1 − ε)·G(z), one ε, uniform in [0, 1), for each sample.

    Args:
        real: `[B, …]`.
        fake: of the same shape, dtype and device.
        rng: on that device.
    """
    shape = (len(real), *[1] * (real.ndim - 1))
    share = torch.rand(shape, generator=rng, device=rng.device, dtype=real.dtype)
    return torch.lerp(fake, real, share)


def penalty(
    config: PenaltiesConfig,
    discriminator: Callable[[Tensor], Tensor],
    real: Seen,
    fake: Seen,
    rng: torch.Generator,
) -> Tensor:
    """What a discriminator step that pays adds to its loss: an fp32 scalar, differentiable.

    Scaled by `every`, so that its mean over all steps is what it would be if every step paid (lazy
    regularisation, Karras et al. 2020, arXiv 1912.04958, appendix B).

    Args:
        config: which penalties, and how much of each.
        discriminator: for the gradient penalty, which looks between the samples.
        real: real samples, fp32.
        fake: generated samples, fp32.
        rng: of the interpolation, on the samples' device.
    """
    terms = []
    if config.r1 > 0:
        terms.append(config.every * config.r1 / 2 * squared_gradient(real.logits, real.inputs))
    if config.r2 > 0:
        terms.append(config.every * config.r2 / 2 * squared_gradient(fake.logits, fake.inputs))
    if config.gradient_penalty > 0:
        # Where there are several generated samples for each real one, pairs with the first ones.
        others = fake.inputs.detach()[: len(real.inputs)]
        between = interpolate(real.inputs.detach(), others, rng).requires_grad_()
        strength = config.every * config.gradient_penalty
        terms.append(strength * one_lipschitz(discriminator(between), between))
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total
