"""The players of games on symbols: those that weigh samples, and those that relax them.

A generator of symbols gives logits, g(x|z). Symbols have no gradient: either they are drawn, and
the discriminator's verdicts weigh their log-probabilities (`gan.game.estimators`), or they are made
continuous (`gan.game.relaxation`), and the game is one of numbers again.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from einops import rearrange
from torch import Tensor

from fusedgan_kernels import effective_sample_size, log_normaliser
from gan.config import Config
from gan.data.training_set import TrainingSet
from gan.game import estimators, relaxation
from gan.game.baselines import make_baseline
from gan.game.measures import DISCRETE_MEASURES, MEASURES
from gan.game.players import SMALLEST, Fake, Players, frozen, gradient_norm
from gan.generators.sampling import draw_symbols
from gan.models.base import categorical_logits
from gan.runtime import stream_seed
from gan.symbols import Colours


class Symbolic(Players):
    """What players on symbols share."""

    def __init__(self, config: Config, data: TrainingSet, device: torch.device) -> None:
        """As `Players`.

        Raises:
            ValueError: the examples are not made of symbols.
        """
        super().__init__(config, data, device)
        if data.alphabet is None:
            raise ValueError("players on symbols need an alphabet")
        self.alphabet = alphabet = data.alphabet
        self._symbols_an_example = math.prod(alphabet.positions(self.generator.shape))
        # Of images: colours [V, C] in [−1, 1].
        self._colours = alphabet.table().to(device) if isinstance(alphabet, Colours) else None


class WeighingPlayers(Symbolic):
    """Importance and reinforce: the discriminator's verdicts on samples weigh their log g.

    One pass of the discriminator over the M·B samples serves both players: its loss, and, from the
    same logits, the generator's weights. So a round's first step of the generator costs no pass of
    its own; its other ones have new samples, and ask the discriminator without any gradient.

    Images come before the discriminator as the colours of their symbols, texts as symbols.
    """

    def __init__(self, config: Config, data: TrainingSet, device: torch.device) -> None:
        """As `Players`."""
        super().__init__(config, data, device)
        self._discrete = config.objective.discrete
        self._seed = stream_seed(config.seed, "symbols")
        # Draws so far, 0-d: no two of a run are the same. A tensor that counts on, so that a round
        # that is recorded and replayed draws anew.
        self._draws = torch.zeros((), dtype=torch.int64, device=device)
        self._baseline = make_baseline(
            self._discrete, self.generator.latent_size, config.seed, device
        )

    @property
    def measures(self) -> tuple[str, ...]:
        """What a round measures, in this order."""
        return (*MEASURES, *DISCRETE_MEASURES)

    def _draw_fake(self) -> Fake:
        latent, logits = self._generate()
        drawn = draw_symbols(
            logits, self._discrete.samples, self.alphabet, seed=self._seed, offset=self._draws
        )
        self._draws += 1
        # The first B are the first samples of all latent vectors.
        return Fake(
            self._shown(rearrange(drawn.symbols, "m b ... -> (m b) ...")), drawn.log_probs, latent
        )

    def _real_examples(self, batch: Any) -> Tensor:
        return self._shown(batch)

    def _shown(self, symbols: Tensor) -> Tensor:
        """Symbols, integers `[N, *positions]`, as the discriminator takes them."""
        if self._colours is None:
            return symbols
        return relaxation.colours(symbols, self._colours)

    def _generator_step(self, fake: Fake, real: Tensor, said: Tensor | None) -> dict[str, Tensor]:
        objective, log_probs = self.config.objective, fake.log_probs
        assert log_probs is not None  # `_draw_fake` is ours
        if said is None:
            with torch.no_grad(), frozen(self.discriminator), self._precision():
                said = self._verdict(fake.examples)  # [M·B]
        log_weights = estimators.log_weights(
            said, objective.discriminator, objective.output
        ).view_as(log_probs)  # [M, B]
        if self._discrete.estimator == "importance":
            loss = estimators.importance_loss(
                log_probs,
                log_weights,
                self._discrete.normalisation,
                control_variate=self._discrete.control_variate,
            )
        else:
            baseline = self._baseline(fake.latent, log_weights)
            loss = estimators.reinforce_loss(log_probs, log_weights, baseline)
            self._baseline.update(fake.latent, log_weights)
        self.generator_optimiser.zero_grad()
        loss.backward()
        norm = gradient_norm(self.generator)
        self.generator_optimiser.step()
        return {
            "generator_loss": loss.detach(),
            "generator_gradient_norm": norm,
            "effective_sample_size": effective_sample_size(log_weights).mean(),
            "log_z": log_normaliser(log_weights.flatten()),
            "log_weight_variance": log_weights.var(),
            # E[−log g] over samples of g.
            "generator_entropy": -log_probs.detach().mean() / self._symbols_an_example,
        }

    def _spread(self, fake: Tensor, real: Tensor) -> Tensor:
        if self._colours is not None:
            return super()._spread(fake, real)
        return symbol_spread(fake, real, self.alphabet.size)

    def state_dict(self) -> dict[str, Any]:
        """Everything the players are: tensors and plain Python values only."""
        return {
            **super().state_dict(),
            "draws": int(self._draws),
            "baseline": self._baseline.state_dict(),
        }

    def load_state_dict(self, content: dict[str, Any], played: int) -> None:
        """Go on where `state_dict` was taken, after `played` rounds."""
        super().load_state_dict(content, played)
        # The stream of symbols is the same on every device.
        self._draws.fill_(content["draws"])
        self._baseline.load_state_dict(content["baseline"])


class RelaxingPlayers(Symbolic):
    """Straight-through and relaxed: samples made continuous, in any game for numbers.

    Images come before the discriminator as the colours that the relaxed symbols expect, texts as
    relaxed symbols `[B, V, L]`; real ones as colours, and one-hot.
    """

    def __init__(self, config: Config, data: TrainingSet, device: torch.device) -> None:
        """As `Players`."""
        super().__init__(config, data, device)
        self.relaxation_rng = self._stream("relaxation")

    @property
    def streams(self) -> list[torch.Generator]:
        """All generators of random numbers that a round draws from."""
        return [*super().streams, self.relaxation_rng]

    def _draw_fake(self) -> Fake:
        latent, outputs = self._generate()
        discrete = self.config.objective.discrete
        logits = categorical_logits(outputs, self.alphabet.size)
        if discrete.estimator == "straight_through":
            symbols = relaxation.straight_through(logits, discrete.temperature, self.relaxation_rng)
        else:
            symbols = relaxation.relaxed(logits, discrete.temperature)
        if self._colours is not None:
            symbols = relaxation.expected_colours(symbols, self._colours)
        return Fake(symbols, None, latent)

    def _real_examples(self, batch: Any) -> Tensor:
        if self._colours is not None:
            return relaxation.colours(batch, self._colours)
        return relaxation.one_hot(batch, self.alphabet.size)

    def state_dict(self) -> dict[str, Any]:
        """Everything the players are: tensors and plain Python values only."""
        return {**super().state_dict(), "relaxation_rng": self.relaxation_rng.get_state()}

    def load_state_dict(self, content: dict[str, Any], played: int) -> None:
        """Go on where `state_dict` was taken, after `played` rounds."""
        super().load_state_dict(content, played)
        if content["device"] == self.device.type:
            self.relaxation_rng.set_state(content["relaxation_rng"])
        else:
            self.relaxation_rng = self._stream(
                f"relaxation from step {played} on {self.device.type}"
            )


@torch.no_grad()
def symbol_spread(fake: Tensor, real: Tensor, size: int) -> Tensor:
    """`gan.game.players.spread` of one-hot symbols, which are never made: the codes mean nothing.

    The variance of a one-hot vector, summed over its V coordinates, is 1 − Σ_v p_v².

    Args:
        fake: symbols, integers `[N, L]`, or one a sample, `[N]`.
        real: symbols, integers `[B, L]` or `[B]`.
        size: V.
    """
    of_fake, of_real = (_symbol_variance(batch, size) for batch in (fake, real))
    return (of_fake / of_real.clamp(min=SMALLEST)).sqrt()


def _symbol_variance(symbols: Tensor, size: int) -> Tensor:
    """Σ over positions of 1 − Σ_v p_v², with N − 1 in place of N; `[N, (L)]` to a scalar."""
    symbols = symbols.reshape(len(symbols), -1)
    count, length = symbols.shape
    index = symbols.long() + size * torch.arange(length, device=symbols.device)
    counts = torch.zeros(length * size, device=symbols.device)
    counts.scatter_add_(0, index.flatten(), torch.ones(index.numel(), device=symbols.device))
    return (length - (counts / count).square().sum()) * (count / (count - 1))
