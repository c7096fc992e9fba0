"""What a round of the game measures, by name."""

from __future__ import annotations

# What every round measures, in this order. Losses and logits are means over the batch; the penalty
# stands apart from the discriminator's loss. `docs/games.md` says what each one means.
MEASURES = (
    "discriminator_loss",
    "penalty",
    "generator_loss",
    "total_loss",
    "real_logit",
    "fake_logit",
    "real_accuracy",
    "fake_accuracy",
    "equilibrium_distance",
    "discriminator_gradient_norm",
    "generator_gradient_norm",
    "gradient_ratio",
    "spread",
    "at_bound",
)
# What a round measures besides where a generator of symbols learns from weighted samples.
# `docs/discrete.md` says what each one means.
DISCRETE_MEASURES = (
    "effective_sample_size",
    "log_z",
    "log_weight_variance",
    "generator_entropy",
)
