"""What a step is worth logging, from the logits that the loss has read anyway."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from ..private import eager


class DiscriminatorStatistics(NamedTuple):
    """What a discriminator step is worth logging: detached scalars on the logits' device.

    A sample is taken for real when its logit is above the level at which the discriminator holds
    both equally likely, ν(F) = f'(1) for a divergence (for `gan` D = ½, F = 0), and for generated
    otherwise; NaN is neither. For `least_squares` the level is halfway between the targets, for
    `hinge` and `wasserstein` 0 (a critic is defined up to a constant, which its accuracy shows).
    For `relativistic` both accuracies are the share of pairs with F(x) > F(G(z)).

    Weights of samples do not enter. All are float32, float64 for float64 logits.

    Attributes:
        real_logit: mean logit of the real samples.
        fake_logit: mean logit of the generated samples.
        real_accuracy: share of the real samples taken for real.
        fake_accuracy: share of the generated samples taken for generated.
        at_bound: how many logits, real and generated, were beyond `EXPONENT_BOUND`.
        mean_weight: mean importance weight w ≈ p/q of the generated samples, 1 for a discriminator
            at its optimum; bounded as the exponentials are. None where the loss defines no weight,
            as are the next two.
        effective_sample_size: (Σw)²/Σw² over the generated samples, between 1 and their number.
        log_z: logsumexp(log w) − log N over the generated samples.
    """

    real_logit: Tensor
    fake_logit: Tensor
    real_accuracy: Tensor
    fake_accuracy: Tensor
    at_bound: Tensor
    mean_weight: Tensor | None
    effective_sample_size: Tensor | None
    log_z: Tensor | None


class GeneratorStatistics(NamedTuple):
    """What a generator step is worth logging: detached scalars on the logits' device.

    Attributes:
        fake_logit: mean logit of the generated samples.
        at_bound: how many logits were beyond `EXPONENT_BOUND`.
        mean_weight: mean importance weight w ≈ p/q; None where the loss defines no weight, as are
            the next two.
        effective_sample_size: (Σw)²/Σw², between 1 and the number of samples.
        log_z: logsumexp(log w) − log N, what `update_log_z` averages.
    """

    fake_logit: Tensor
    at_bound: Tensor
    mean_weight: Tensor | None
    effective_sample_size: Tensor | None
    log_z: Tensor | None


def update_log_z(log_z: Tensor, log_weights: Tensor, rate: float = 0.005) -> Tensor:
    """The next log Z of the centred boundary-seeking loss: an exponential moving average.

    (1 − rate)·log Z + rate·(logsumexp(log w) − log N), Hjelm et al. 2018, section 3. Computed on
    the device, without synchronisation, and without a gradient.

    Args:
        log_z: the average so far, 0-d.
        log_weights: log w of a batch, any shape (with `output="log_ratio"` the logits F); or the
            statistics' own `log_z`, 0-d, which is the same number already reduced.
        rate: the share of the new batch.

    Returns:
        The new average, 0-d, in `log_z`'s dtype: a new tensor.

    Raises:
        TypeError: `log_z` is not a floating-point tensor.
        ValueError: `log_z` is not 0-d, or `rate` is not between 0 and 1.
    """
    if not isinstance(log_z, Tensor) or not log_z.is_floating_point():
        found = log_z.dtype if isinstance(log_z, Tensor) else type(log_z).__name__
        raise TypeError(f"log_z is a {found}: expected a 0-d tensor of a floating dtype")
    if log_z.dim() != 0:
        raise ValueError(f"log_z has shape {list(log_z.shape)}: expected a 0-d tensor")
    if not 0 <= rate <= 1:
        raise ValueError(f"rate={rate!r}: expected a number between 0 and 1")
    with torch.no_grad():
        batch, _ = weight_moments(log_weights.to(log_z.dtype))
        return torch.lerp(log_z, batch, rate)


def weight_moments(log_weights: Tensor) -> tuple[Tensor, Tensor]:
    """Log of the mean weight and effective sample size, both 0-d; NaN for an empty batch.

    log Z = logsumexp(log w) − log N and (Σw)²/Σw², exact however large the weights are.
    """
    count = log_weights.numel()
    if count == 0:
        nan = log_weights.new_full((), math.nan)
        return nan, nan
    limits = torch.finfo(log_weights.dtype)
    # An infinite logit counts as the largest one: differences of two stay numbers.
    finite = log_weights.clamp(limits.min, limits.max)
    largest = finite.amax()
    relative = (finite - largest).exp()
    total = relative.sum()
    # A graph holds for batches of any size: there the count is not a number yet.
    log_count = math.log(count) if eager() else torch.ones_like(relative).sum().log()
    return total.log() + (largest - log_count), total * total / relative.square().sum()
