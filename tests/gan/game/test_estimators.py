"""The estimators against the gradients that they estimate, by enumeration in float64.

The small world: x has 8 bits, all 256 of which are enumerated; z is one of three, each as likely;
g(x|z) is a product of Bernoullis with logits of its own for each z, which are all the parameters
there are. So q(x) = Σ_z g(x|z)/3 and every expectation is a finite sum.
"""

import itertools
import math

import pytest
import torch
from torch import Tensor

from gan.config.soundness import DIVERGENCES
from gan.game import estimators
from gan.game.estimators import (
    importance_loss,
    importance_weights,
    leave_one_out,
    log_weights,
    reinforce_loss,
)
from kernels import log_prob
from kernels.losses import discriminator_loss

BITS, LATENTS = 8, 3
# All bit strings [256, 8].
SPACE = torch.tensor(list(itertools.product((0, 1), repeat=BITS)), dtype=torch.uint8)
EXACT = {"rtol": 0, "atol": 1e-8}
DEFINED = [
    (divergence, output)
    for divergence in DIVERGENCES
    for output in ("nowozin", "log_ratio")
    if divergence != "total_variation" and (divergence, output) != ("pearson", "nowozin")
]


def generator(seed: int = 0, bits: int = BITS) -> Tensor:
    """Logits [latents, bits], the parameters."""
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(LATENTS, bits, generator=rng, dtype=torch.float64).requires_grad_()


def data(seed: int = 1, size: int = len(SPACE)) -> Tensor:
    """p(x) of every x."""
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(size, generator=rng, dtype=torch.float64).softmax(0)


def enumerated(logits: Tensor, space: Tensor = SPACE) -> Tensor:
    """log g(x|z) of every x, [X, latents]; from the definition, not from the kernels."""
    bits = space[:, None].to(logits.dtype)  # [X, 1, bits]
    return (bits * logits - torch.nn.functional.softplus(logits)).sum(-1)


def marginal(log_probs: Tensor) -> Tensor:
    """q(x), [X]."""
    return log_probs.exp().mean(1)


def gradient(value: Tensor, logits: Tensor) -> Tensor:
    (found,) = torch.autograd.grad(value, logits, retain_graph=True)
    return found


def optimal_logits(ratio: Tensor, divergence: str, output: str) -> Tensor:
    """The F that minimises p·real(F) + q·fake(F), found by bisection on the loss's own gradient.

    At every x alone: the discriminator's loss is convex in F, and so its derivative is increasing.
    """
    low, high = torch.full_like(ratio, -30.0), torch.full_like(ratio, 30.0)
    for _ in range(200):
        middle = ((low + high) / 2).requires_grad_()
        loss = discriminator_loss(
            middle, middle, loss=divergence, output=output, reduction="sum", real_weights=ratio
        )
        (slope,) = torch.autograd.grad(loss, middle)
        middle = middle.detach()
        low, high = torch.where(slope < 0, middle, low), torch.where(slope < 0, high, middle)
    return (low + high) / 2


@pytest.mark.parametrize(("divergence", "output"), DEFINED)
def test_weights_of_the_optimal_discriminator_are_the_density_ratio(divergence, output):
    q = marginal(enumerated(generator())).detach()
    ratio = data() / q
    logits = optimal_logits(ratio, divergence, output)
    torch.testing.assert_close(
        log_weights(logits, divergence, output).exp(), ratio, rtol=1e-6, atol=0
    )


@pytest.mark.parametrize(
    ("divergence", "output", "reason"),
    [
        ("total_variation", "nowozin", "constant 1"),
        ("pearson", "nowozin", "can be negative"),
        ("total_variation", "log_ratio", "not defined"),
        ("hinge", "nowozin", "none"),
    ],
)
def test_where_there_is_no_weight_there_is_none(divergence, output, reason):
    with pytest.raises(ValueError, match=reason):
        log_weights(torch.zeros(2), divergence, output)


def test_log_weights_are_wide_and_constant():
    logits = torch.tensor([1.0, 300.0], dtype=torch.bfloat16, requires_grad=True)
    found = log_weights(logits, "squared_hellinger", "nowozin")
    assert found.dtype == torch.float32
    assert found.tolist() == [2.0, 600.0]  # no bound of an exponent: this is a logarithm
    assert not found.requires_grad
    assert log_weights(torch.zeros(1, dtype=torch.float64), "kl", "nowozin").tolist() == [-1.0]


# --- reinforce ---------------------------------------------------------------------------------


def moments_of_reinforce(logits: Tensor, log_w: Tensor, baseline: Tensor | float):
    """Mean and total variance of the gradient of `reinforce_loss` over all samples, M = 1.

    For each z by itself, where its parameters alone have a gradient.
    """
    log_probs = enumerated(logits)
    mean, second = torch.zeros_like(logits), torch.zeros_like(logits)
    for index, x in enumerate(SPACE):
        drawn = x.expand(1, LATENTS, BITS)
        loss = reinforce_loss(log_prob(logits, drawn), log_w[index].expand(1, LATENTS), baseline)
        found = gradient(loss, logits)  # [latents, bits]
        chance = log_probs[index].exp().detach()[:, None]
        mean += chance * found
        second += chance * found.square()
    return mean, (second - mean.square()).sum()


@pytest.mark.parametrize("baseline", [0.0, 0.7, "log_z", "of each latent"])
def test_reinforce_is_the_gradient_of_the_reverse_kl(baseline):
    logits, p = generator(), data()
    log_probs = enumerated(logits)
    q = marginal(log_probs)
    log_w = (p.log() - q.log()).detach()
    value: Tensor | float = {
        "log_z": torch.tensor(-0.3, dtype=torch.float64),
        "of each latent": torch.tensor([0.2, -1.0, 3.0], dtype=torch.float64),
    }.get(baseline, baseline)
    reverse_kl = (q * (q.log() - p.log())).sum()
    found, _ = moments_of_reinforce(logits, log_w, value)
    torch.testing.assert_close(found, gradient(reverse_kl, logits), **EXACT)


def test_a_baseline_lowers_the_variance_of_reinforce():
    """Of a discriminator that is right but for a constant, which is its to choose."""
    logits, p = generator(), data()
    log_probs = enumerated(logits).detach()
    log_w = p.log() - marginal(log_probs).log() + 6.0  # Z = e⁶
    log_z = (log_w[:, None] + log_probs).logsumexp((0, 1)) - math.log(LATENTS)
    assert log_z.item() == pytest.approx(6.0)
    least_squares = (log_probs.exp() * (log_w[:, None] - 1)).sum(0)  # where `learned` tends to
    means, variances = zip(
        *(moments_of_reinforce(logits, log_w, each) for each in (0.0, log_z, least_squares)),
        strict=True,
    )
    for mean in means[1:]:
        torch.testing.assert_close(mean, means[0], **EXACT)
    without, moving, learned = (each.item() for each in variances)
    assert moving < 0.3 * without
    # The published −1 is noise, too, which the learned baseline takes along.
    assert learned < 0.7 * moving


def test_the_other_samples_are_a_baseline_without_bias_that_lowers_the_variance():
    """Over all pairs of samples of one latent: the same mean as without, to the last digit."""
    space = torch.tensor(list(itertools.product((0, 1), repeat=3)), dtype=torch.uint8)
    logits = generator(bits=3)
    log_w = data(size=len(space)).log() + 6  # of a discriminator that is off by a constant
    log_probs = enumerated(logits, space)[:, 0].detach()
    means, variances = {}, {}
    for name in ("none", "others"):
        mean, second = torch.zeros(3, dtype=torch.float64), torch.zeros(3, dtype=torch.float64)
        for pair in itertools.product(range(len(space)), repeat=2):
            index = torch.tensor(pair)
            weights = log_w[index][:, None]  # [2, 1]
            baseline = leave_one_out(weights) - 1 if name == "others" else 0.0
            loss = reinforce_loss(log_prob(logits[:1], space[index][:, None]), weights, baseline)
            found = gradient(loss, logits)[0]
            chance = log_probs[index].sum().exp()
            mean += chance * found
            second += chance * found.square()
        means[name], variances[name] = mean, (second - mean.square()).sum().item()
    torch.testing.assert_close(means["others"], means["none"], **EXACT)
    assert variances["others"] < 0.5 * variances["none"]


def test_leaving_one_out_by_hand():
    log_w = torch.tensor([[1.0, 0.0], [2.0, 3.0], [6.0, 0.0]], requires_grad=True)
    found = leave_one_out(log_w)
    assert found.tolist() == [[4.0, 1.5], [3.5, 0.0], [1.5, 1.5]]
    assert not found.requires_grad


# --- importance --------------------------------------------------------------------------------


def test_importance_over_the_whole_space_is_the_gradient_per_latent():
    """M → ∞: samples are all of x, weighted by how often they come."""
    logits, log_w = generator(), data().log() - data(2).log()
    log_probs = enumerated(logits)  # [X, latents]: M = X
    # A sample x that comes with probability g has, among these, the log weight log w + log g.
    loss = importance_loss(log_probs, log_w[:, None] + log_probs.detach())
    target = (log_w[:, None] + log_probs.detach()).softmax(0)  # p̃(x|z)
    kl = (target * (target.log() - log_probs)).sum(0).mean()
    torch.testing.assert_close(gradient(loss, logits), gradient(kl, logits), **EXACT)


def test_one_beta_over_the_whole_space_is_the_gradient_of_the_kl():
    logits, p = generator(), data()
    log_probs = enumerated(logits)
    q = marginal(log_probs)
    log_w = (p / q).log().detach()[:, None] + log_probs.detach()
    loss = importance_loss(log_probs, log_w, "batch")
    kl = (p * (p.log() - q.log())).sum()
    torch.testing.assert_close(gradient(loss, logits), gradient(kl, logits), **EXACT)


def expectation_over_tuples(
    logits: Tensor, log_w: Tensor, samples: int, space: Tensor, **options: bool
) -> tuple[Tensor, Tensor, float]:
    """E of `importance_loss`'s gradient over all M-tuples, of Σ w̃ ∇log g, and the total variance.

    One latent, so that the two normalisations are one, too.
    """
    log_probs = enumerated(logits, space)[:, 0]  # [X]
    scores = torch.stack([gradient(each, logits)[0] for each in log_probs])  # ∇log g, [X, bits]
    by_loss, by_formula = torch.zeros_like(logits[0]), torch.zeros_like(logits[0])
    squares = 0.0
    # Tuples that are alike but for their order come together, times their number.
    for drawn in itertools.combinations_with_replacement(range(len(space)), samples):
        index = torch.tensor(drawn)
        repeats = (drawn.count(x) for x in set(drawn))
        orders = math.factorial(samples) // math.prod(map(math.factorial, repeats))
        chance = orders * log_probs[index].sum().exp().detach()
        loss = importance_loss(
            log_prob(logits[:1], space[index][:, None]), log_w[index][:, None], **options
        )
        found = gradient(loss, logits)[0]
        by_loss += chance * found
        squares += (chance * found.square().sum()).item()
        w = log_w[index].exp()
        by_formula += chance * -(w[:, None] * scores[index]).sum(0) / w.sum()
    return by_loss, by_formula, squares - by_loss.square().sum().item()


def test_self_normalised_importance_is_biased_and_the_bias_falls_with_the_samples():
    """Over all tuples of M samples: the expectation is the formula's, and goes to the limit's."""
    space = torch.tensor(list(itertools.product((0, 1), repeat=2)), dtype=torch.uint8)
    logits = generator(bits=2)
    log_w = torch.tensor([0.5, -0.4, 1.0, -1.2], dtype=torch.float64)
    log_probs = enumerated(logits, space)[:, 0]
    target = (log_w + log_probs.detach()).softmax(0)
    limit = gradient(-(target * log_probs).sum(), logits)[0]
    bias = {}
    for samples in (1, 2, 8, 16):
        by_loss, by_formula, _ = expectation_over_tuples(logits, log_w, samples, space)
        torch.testing.assert_close(by_loss, by_formula, **EXACT)
        bias[samples] = (by_loss - limit).norm().item()
    # One sample has weight 1 whatever it is, and the score has mean 0.
    assert bias[1] == pytest.approx(limit.norm().item())
    assert bias[1] > bias[2] > bias[8] > bias[16]
    # O(1/M): M times the bias settles.
    assert 16 * bias[16] == pytest.approx(8 * bias[8], rel=0.15)


@pytest.mark.parametrize("samples", [2, 5])
def test_the_control_variate_changes_the_variance_and_not_the_mean(samples: int):
    space = torch.tensor(list(itertools.product((0, 1), repeat=2)), dtype=torch.uint8)
    logits = generator(bits=2)
    # Weights that are nearly alike, as those of a discriminator that is hard put to it.
    log_w = 0.3 * torch.tensor([0.5, -0.4, 1.0, -1.2], dtype=torch.float64)
    plain, _, variance = expectation_over_tuples(logits, log_w, samples, space)
    found, formula, less = expectation_over_tuples(
        logits, log_w, samples, space, control_variate=True
    )
    torch.testing.assert_close(found, plain, **EXACT)
    torch.testing.assert_close(found, formula, **EXACT)
    assert less < 0.2 * variance


@pytest.mark.parametrize("normalisation", estimators.NORMALISATIONS)
def test_the_control_variate_takes_the_same_from_every_weight(normalisation: str):
    rng = torch.Generator().manual_seed(0)
    log_probs = torch.randn(4, 3, generator=rng).requires_grad_()
    log_w = torch.randn(4, 3, generator=rng)
    losses = [
        importance_loss(log_probs, log_w, normalisation, control_variate=each)
        for each in (False, True)
    ]
    assert losses[0].item() == pytest.approx(losses[1].item())  # the cross-entropy, still
    plain, controlled = (torch.autograd.grad(loss, log_probs)[0] for loss in losses)
    # In the mean over 3 latent vectors 1/M for each of M = 4 samples.
    torch.testing.assert_close(controlled, plain + 1 / 12)
    torch.testing.assert_close(controlled.sum(), torch.tensor(0.0), rtol=0, atol=1e-6)


def test_weights_add_up_over_a_latent_or_over_the_batch():
    log_w = torch.tensor([[0.0, math.log(3.0)], [math.log(2.0), 0.0]])
    torch.testing.assert_close(
        importance_weights(log_w), torch.tensor([[1 / 3, 3 / 4], [2 / 3, 1 / 4]])
    )
    torch.testing.assert_close(
        importance_weights(log_w, "batch"), torch.tensor([[2 / 7, 6 / 7], [4 / 7, 2 / 7]])
    )
    with pytest.raises(ValueError, match="normalisation='each': expected one of latent, batch"):
        importance_weights(log_w, "each")


def test_a_constant_in_the_logits_changes_no_importance_weight():
    log_w = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    for normalisation in estimators.NORMALISATIONS:
        torch.testing.assert_close(
            importance_weights(log_w + 50, normalisation),
            importance_weights(log_w, normalisation),
            rtol=1e-4,
            atol=1e-6,
        )


@pytest.mark.parametrize("normalisation", estimators.NORMALISATIONS)
def test_nothing_flows_through_weights_or_baselines(normalisation):
    log_probs = torch.randn(4, 3, requires_grad=True)
    log_w = torch.randn(4, 3, requires_grad=True)
    baseline = torch.randn(3, requires_grad=True)
    importance_loss(log_probs, log_w, normalisation).backward()
    reinforce_loss(log_probs, log_w, baseline).backward()
    assert log_probs.grad is not None
    assert log_w.grad is None
    assert baseline.grad is None


def test_losses_by_hand():
    log_probs = torch.tensor([[-1.0, -2.0], [-3.0, -4.0]])
    log_w = torch.tensor([[0.0, 0.0], [0.0, math.log(3.0)]])
    # z₁: (1 + 3)/2; z₂: (2 + 3·4)/4.
    assert importance_loss(log_probs, log_w).item() == pytest.approx((2 + 3.5) / 2)
    signal = -1 - 0.5
    expected = -(signal * (-1 - 2 - 3) + (math.log(3) + signal) * -4) / 4
    assert reinforce_loss(log_probs, log_w, 0.5).item() == pytest.approx(expected)
