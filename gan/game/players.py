"""One round of the game: the discriminator's steps, then the generator's.

A round has static shapes and no host synchronisation: what it measures stays on the device. All
randomness comes from generators that the players hold, and all that they hold goes into their
state.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from fusedgan_kernels import DiscriminatorStatistics
from gan.config import Config, TrainConfig
from gan.data.training_set import TrainingSet
from gan.game.measures import MEASURES
from gan.game.objectives import Game
from gan.game.optimisers import load_optimiser_state, make_optimiser, optimiser_state
from gan.game.penalties import Seen
from gan.generators.sampling import generate
from gan.models import build_discriminator, build_generator
from gan.models.base import Generator, Network
from gan.pixels import Examples, to_network
from gan.private import AnyBatchNorm, SpectralNormalisation, clamp_all_
from gan.runtime import computes_in_bf16, stream_seed
from gan.schedules import learning_rate_factor, set_learning_rate

_log = logging.getLogger(__name__)

# A batch of real samples that are all the same counts as one that varies by this.
SMALLEST = 1e-12


@contextlib.contextmanager
def frozen(network: nn.Module) -> Iterator[None]:
    """Gradients pass through `network` within the block, but nothing of it changes.

    No gradient of its parameters is computed, and BatchNorm uses the batch's statistics, as in
    training, without moving the running ones; the power iteration of spectral normalisation
    stands still.
    """
    parameters = [each for each in network.parameters() if each.requires_grad]
    norms = [
        each
        for each in network.modules()
        if isinstance(each, AnyBatchNorm) and each.track_running_stats
    ]
    iterations = [
        each
        for each in network.modules()
        if isinstance(each, SpectralNormalisation) and each.training
    ]
    for parameter in parameters:
        parameter.requires_grad_(False)
    for norm in norms:
        norm.track_running_stats = False
    for iteration in iterations:
        iteration.training = False
    try:
        yield
    finally:
        for parameter in parameters:
            parameter.requires_grad_(True)
        for norm in norms:
            norm.track_running_stats = True
        for iteration in iterations:
            iteration.training = True


class Fake(NamedTuple):
    """Generated samples.

    Attributes:
        examples: as the discriminator takes them, `[N, …]`.
        log_probs: of samples that were drawn from a distribution, M for each of B latent vectors:
            log g(x|z) `[M, B]`, on which the generator's gradient hangs; N is M·B then, and the
            examples have no gradient. None where the gradient goes through the examples.
        latent: what they were generated from, `[B, Z]`.
    """

    examples: Tensor
    log_probs: Tensor | None
    latent: Tensor


class Players:
    """Generator and discriminator, their optimisers, and the random numbers that they draw.

    Here the generator's gradient goes through its samples; `gan.game.symbol_players` has others.
    """

    # Measures that give no cause for alarm in this game, whatever they are.
    never_alarming: ClassVar[tuple[str, ...]] = ()

    def __init__(self, config: Config, data: TrainingSet, device: torch.device) -> None:
        """Two players who have not played yet.

        Args:
            config: `seed`, `model`, `objective` and `train` are used, and `runtime.compile`.
            data: says of what shape examples are, and what their symbols mean.
            device: where to play.
        """
        self.config = config
        self.device = device
        self.game = Game(config.objective)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(stream_seed(config.seed, "initialisation"))
            generator = build_generator(config.model, data.shape, data.alphabet)
            discriminator = build_discriminator(config.model, data.shape, data.alphabet)
        self.generator = _placed(generator, device)
        self.discriminator = _placed(discriminator, device)
        # What a round asks instead, with the same parameters.
        self._compiled: tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]] | None = None
        if config.runtime.compile:
            self._compiled = (_compiled(self.generator), _compiled(self.discriminator))
        train = config.train
        self.generator_optimiser = _optimiser(
            train.generator_optimiser, self.generator, train.generator_learning_rate, train
        )
        self.discriminator_optimiser = _optimiser(
            train.discriminator_optimiser,
            self.discriminator,
            train.discriminator_learning_rate,
            train,
        )
        # What the learning rates that the optimisers have are multiples of.
        self._rate_share: float | None = None
        self.latent_rng = self._stream("latent")
        self.interpolation_rng = self._stream("interpolation")
        # Of the centred boundary-seeking loss: a running mean of log w.
        self.log_z = torch.zeros((), device=device)
        self._zero = torch.zeros((), device=device)
        self._autocast = train.precision == "bf16"
        if self._autocast and not computes_in_bf16(device):
            _log.warning(
                "train.precision is bf16, but this CPU has no bf16 instructions and would be "
                "slower with it: training in fp32"
            )
            self._autocast = False

    @property
    def measures(self) -> tuple[str, ...]:
        """What a round measures, in this order."""
        return MEASURES

    @property
    def streams(self) -> list[torch.Generator]:
        """All generators of random numbers that a round draws from."""
        return [self.latent_rng, self.interpolation_rng]

    def play(self, played: int, next_batch: Callable[[], Any]) -> Tensor:
        """One round: `objective.d_steps` of the discriminator, `objective.g_steps` of the other.

        Args:
            played: rounds before this one.
            next_batch: the next real examples as the data has them, on the device; of what type,
                `_real_examples` knows.

        Returns:
            `measures`, fp32 `[len(measures)]`, on the device.
        """
        self.prepare(played)
        return self.round(self.due(played), next_batch)

    def prepare(self, played: int) -> None:
        """What the host has to do before the round after `played` others: its learning rates.

        They are put where the round reads them; all else is in `round`.
        """
        train = self.config.train
        share = learning_rate_factor(train.schedule, played, train.steps)
        if share == self._rate_share:
            return
        for optimiser, rate in (
            (self.generator_optimiser, train.generator_learning_rate),
            (self.discriminator_optimiser, train.discriminator_learning_rate),
        ):
            set_learning_rate(optimiser, rate * share)
        self._rate_share = share

    def due(self, played: int) -> tuple[bool, ...]:
        """For each discriminator step of the round after `played` others: does it pay penalties?

        All that tells one round's operators from another's.
        """
        steps = self.config.objective.d_steps
        return tuple(self.game.penalty_due(played * steps + index) for index in range(steps))

    def round(self, due: Sequence[bool], next_batch: Callable[[], Any]) -> Tensor:
        """The round itself, once `prepare` was called: the same operators whenever `due` is.

        Nothing in it depends on how many rounds there were, or waits for the device, so that it
        can be recorded and replayed.

        Args:
            due: of the round, from `due`.
            next_batch: as `play`; called `objective.d_steps` times.

        Returns:
            As `play`.
        """
        objective = self.config.objective
        paid = self._zero
        for index in range(objective.d_steps):
            last = index == objective.d_steps - 1
            real = self._real_examples(next_batch())  # [B, …]
            # The generator learns from the last of these fakes.
            with contextlib.nullcontext() if last else torch.no_grad():
                fake = self._draw_fake()
            fake_logits, of_discriminator = self._discriminator_step(
                real, fake.examples.detach(), pays=due[index], measure=last
            )
            # A mean over all steps: lazy penalties may never fall due in the last one.
            paid = paid + of_discriminator["penalty"] / objective.d_steps
        looked_at = len(real) + len(fake.examples)
        at_bound = of_discriminator["at_bound"]
        varies = self._spread(fake.examples.detach(), real.detach())
        for index in range(objective.g_steps):
            if index > 0:
                fake = self._draw_fake()
            of_generator = self._generator_step(
                fake, real.detach(), fake_logits if index == 0 else None
            )
        if "at_bound" in of_generator:
            looked_at += len(fake.examples)
            at_bound = at_bound + of_generator["at_bound"]
        measured = {**of_discriminator, **of_generator, "penalty": paid, "spread": varies}
        measured["at_bound"] = at_bound / looked_at
        return torch.stack([measured[name] for name in self.measures])

    def shown(self, average: Generator, count: int) -> Examples:
        """Samples `[count, *shape]` of the averaged generator, from the same latent each time.

        Symbols are drawn with the same random numbers each time; see
        `gan.generators.sampling.generate`. Changes nothing of the players.
        """
        # Drawn on the CPU: the same latent on every device.
        rng = torch.Generator().manual_seed(stream_seed(self.config.seed, "fixed latent"))
        latent = average.draw_latent(count, rng)
        seed = stream_seed(self.config.seed, "fixed symbols")
        return np.concatenate(list(generate(average, latent, seed=seed)))

    # --- the two steps ---------------------------------------------------------------------

    def _discriminator_step(
        self, real: Tensor, fake: Tensor, *, pays: bool, measure: bool
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """One step on `real` `[B, …]` and `fake` `[N, …]`, with penalties if it `pays`.

        Returns:
            What the discriminator said to `fake` before the step, `[N]`, detached; and what the
            step measures, if asked to, else its penalty alone.
        """
        game, penalties = self.game, self.config.objective.penalties
        # Penalties are computed in fp32: under autocast not from the logits of the loss.
        shared = pays and not self._autocast
        real.requires_grad_(shared and penalties.r1 > 0)
        fake.requires_grad_(shared and penalties.r2 > 0)
        self.discriminator_optimiser.zero_grad()
        with self._precision():
            real_logits, fake_logits = self._verdicts(real, fake)  # [B], [N]
        loss, statistics = game.discriminator_loss(real_logits, fake_logits)
        penalty = self._zero
        if shared:
            penalty = game.penalty(
                self.discriminator,
                Seen(real, real_logits),
                Seen(fake, fake_logits),
                self.interpolation_rng,
            )
        elif pays:
            penalty = game.penalty(
                self.discriminator,
                self._seen_exactly(real, penalties.r1 > 0),
                self._seen_exactly(fake, penalties.r2 > 0),
                self.interpolation_rng,
            )
        (loss + penalty).backward()
        norm = gradient_norm(self.discriminator) if measure else self._zero
        self.discriminator_optimiser.step()
        self._clip()
        said = fake_logits.detach()
        if not measure:
            return said, {"penalty": penalty.detach()}
        return said, self._measures(loss, penalty, statistics, real_logits, fake_logits, norm)

    def _seen_exactly(self, inputs: Tensor, needed: bool) -> Seen:
        """`inputs` as fp32 and what the discriminator says to them in fp32, if that is needed."""
        leaf = inputs.detach().float().requires_grad_(needed)
        return Seen(leaf, self.discriminator(leaf) if needed else self._zero)

    def _measures(
        self,
        loss: Tensor,
        penalty: Tensor,
        statistics: DiscriminatorStatistics,
        real_logits: Tensor,
        fake_logits: Tensor,
        norm: Tensor,
    ) -> dict[str, Tensor]:
        total, ratio = self.game.total_and_ratio(real_logits, fake_logits)
        return {
            "discriminator_loss": loss.detach(),
            "penalty": penalty.detach(),
            "total_loss": total,
            "real_logit": statistics.real_logit,
            "fake_logit": statistics.fake_logit,
            "real_accuracy": statistics.real_accuracy,
            "fake_accuracy": statistics.fake_accuracy,
            # As many generated samples as real ones, where there are more of them.
            "equilibrium_distance": self.game.equilibrium_distance(
                real_logits, fake_logits[: len(real_logits)]
            ),
            "discriminator_gradient_norm": norm,
            "gradient_ratio": ratio,
            "at_bound": statistics.at_bound,
        }

    def _generator_step(self, fake: Fake, real: Tensor, said: Tensor | None) -> dict[str, Tensor]:
        """One step of the generator; what it measures.

        Args:
            fake: what hangs on the generator.
            real: the last real examples, `[B, …]`.
            said: what the discriminator said to `fake` before its last step, `[N]`; None if it has
                not been asked. Here it is asked anew: its gradient by the examples is needed.
        """
        self.generator_optimiser.zero_grad()
        with frozen(self.discriminator):
            with self._precision():
                fake_logits = self._verdict(fake.examples)  # [B]
                real_logits = self._verdict(real) if self.game.generator_sees_real else None
            loss, statistics = self.game.generator_loss(fake_logits, real_logits, self.log_z)
            loss.backward()
        self.log_z.copy_(self.game.next_log_z(self.log_z, statistics))
        norm = gradient_norm(self.generator)
        self.generator_optimiser.step()
        return {
            "generator_loss": loss.detach(),
            "generator_gradient_norm": norm,
            "at_bound": statistics.at_bound,
        }

    @torch.no_grad()
    def _clip(self) -> None:
        """Put the discriminator's parameters back into the box (Arjovsky et al. 2017)."""
        bound = self.config.objective.weight_clip
        if bound > 0:
            clamp_all_(list(self.discriminator.parameters()), -bound, bound)

    def _draw_fake(self) -> Fake:
        latent, outputs = self._generate()
        return Fake(outputs, None, latent)

    def _ask_generator(self, latent: Tensor) -> Tensor:
        """What the generator gives for `[B, latent_size]`, compiled or not."""
        return self.generator(latent) if self._compiled is None else self._compiled[0](latent)

    def _ask_discriminator(self, examples: Tensor) -> Tensor:
        """What the discriminator gives for `[N, …]`, compiled or not."""
        if self._compiled is None:
            return self.discriminator(examples)
        return self._compiled[1](examples)

    def _verdict(self, examples: Tensor) -> Tensor:
        """What the discriminator says to `examples` `[N, …]`: logits `[N]`."""
        return self._ask_discriminator(examples)

    def _verdicts(self, real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
        """What it says to `real` `[B, …]` and to `fake` `[N, …]`: `[B]` and `[N]`."""
        return self._verdict(real), self._verdict(fake)

    def _generate(self) -> tuple[Tensor, Tensor]:
        """Fresh latent vectors `[B, Z]`, and what the generator makes of them, `[B, …]`."""
        latent = self.generator.draw_latent(self.config.train.batch_size, self.latent_rng)
        with self._precision():
            return latent, self._ask_generator(latent)

    def _real_examples(self, batch: Any) -> Tensor:
        """A batch of the data as the discriminator takes it."""
        return to_network(batch)

    def _spread(self, fake: Tensor, real: Tensor) -> Tensor:
        """Deviation within `fake` over that within `real`, examples both, a device scalar."""
        return spread(fake, real)

    def _precision(self) -> contextlib.AbstractContextManager[Any]:
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self._autocast)

    # --- the state -------------------------------------------------------------------------

    def _stream(self, name: str) -> torch.Generator:
        return torch.Generator(self.device).manual_seed(stream_seed(self.config.seed, name))

    def state_dict(self) -> dict[str, Any]:
        """Everything the players are: tensors and plain Python values only."""
        return {
            "device": self.device.type,
            "generator": self.generator.state_dict(),
            "discriminator": self.discriminator.state_dict(),
            "generator_optimiser": optimiser_state(self.generator_optimiser),
            "discriminator_optimiser": optimiser_state(self.discriminator_optimiser),
            "latent_rng": self.latent_rng.get_state(),
            "interpolation_rng": self.interpolation_rng.get_state(),
            "log_z": self.log_z,
        }

    def load_state_dict(self, content: dict[str, Any], played: int) -> None:
        """Go on where `state_dict` was taken, after `played` rounds."""
        self.generator.load_state_dict(content["generator"])
        self.discriminator.load_state_dict(content["discriminator"])
        load_optimiser_state(self.generator_optimiser, content["generator_optimiser"])
        load_optimiser_state(self.discriminator_optimiser, content["discriminator_optimiser"])
        self.log_z.copy_(content["log_z"])
        if content["device"] == self.device.type:
            self.latent_rng.set_state(content["latent_rng"])
            self.interpolation_rng.set_state(content["interpolation_rng"])
            return
        _log.warning(
            f"the run was interrupted on {content['device']} and goes on on {self.device.type}: "
            "with other latent vectors, and to other bytes, than without the interruption"
        )
        since = f"from step {played} on {self.device.type}"
        self.latent_rng = self._stream(f"latent {since}")
        self.interpolation_rng = self._stream(f"interpolation {since}")


def _placed(network: Network, device: torch.device) -> Network:
    """`network` on `device`, its weights in channels_last as the activations are."""
    return network.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def _compiled(network: Network) -> Callable[[Tensor], Tensor]:
    """`network` by `torch.compile`, as a whole or not at all; sizes are those it is called with."""
    compiled: Callable[[Tensor], Tensor] = torch.compile(network, fullgraph=True, dynamic=False)
    return compiled


def gradient_norm(network: nn.Module) -> Tensor:
    """The L2 norm over all parameters' gradients, a device scalar."""
    gradients = [each.grad for each in network.parameters() if each.grad is not None]
    return torch.nn.utils.get_total_norm(gradients)


def _optimiser(
    name: str, network: nn.Module, learning_rate: float, train: TrainConfig
) -> torch.optim.Optimizer:
    return make_optimiser(
        name,
        network.parameters(),
        learning_rate=learning_rate,
        betas=train.betas,
        weight_decay=train.weight_decay if name == "adamw" else 0.0,
        recordable=True,
    )


@torch.no_grad()
def spread(fake: Tensor, real: Tensor) -> Tensor:
    """Deviation within a batch of `fake` over that within one of `real`, `[N, …]` and `[B, …]`.

    √(Σ variances / Σ variances) over coordinates: 0 for samples that are all the same, 1 for
    samples that vary as the data do.
    """
    of_fake, of_real = (batch.float().flatten(1).var(0).sum() for batch in (fake, real))
    return (of_fake / of_real.clamp(min=SMALLEST)).sqrt()
