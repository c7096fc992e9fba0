"""Adversarial classification: F by look-up, the gradient under the best discriminator, resuming."""

import copy
import io
import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gan.config import Config, parse
from gan.data import TrainingSet
from gan.data.batches import Labelled
from gan.game import estimators
from gan.game.label_players import (
    look_up,
)
from gan.game.relaxation import one_hot
from gan.pixels import to_network
from gan.symbols import Alphabet, ClassNames, Colours
from gan.training.alarms import alarms
from gan.training.trainer import Trainer
from kernels import log_prob
from tests.gan.playing import CPU, assert_same_state, measured, snapshot

TWO, FIVE = ClassNames(("cat", "dog")), ClassNames(tuple("abcde"))
DIVERGENCES = ("gan", "jensen_shannon", "kl", "reverse_kl", "pearson", "squared_hellinger")
CRITIC = {"discriminator": "wasserstein", "generator": "wasserstein", "weight_clip": 0.1}
MECHANISMS: dict[str, dict] = {
    "importance": {"discrete": {"samples": 3}},
    "importance, several steps": {"d_steps": 2, "g_steps": 3, "discrete": {"samples": 3}},
    "one beta": {"discrete": {"samples": 3, "normalisation": "batch"}},
    "reinforce": {"discrete": {"estimator": "reinforce", "samples": 3}},
    "reinforce, learned": {"discrete": {"estimator": "reinforce", "baseline": "learned"}},
    "relaxed critic": {**CRITIC, "d_steps": 2, "discrete": {"estimator": "relaxed"}},
    "straight through": {
        "generator": "non_saturating", "discrete": {"estimator": "straight_through"}
    },
    "relativistic": {
        "discriminator": "relativistic",
        "generator": "relativistic",
        "output": "nowozin",
        "discrete": {"estimator": "relaxed"},
    },
}  # fmt: skip


def configure(**objective: object) -> Config:
    if objective.get("discriminator") == "wasserstein":
        objective = {"output": "nowozin", **objective}
    values = {
        "model": {"name": "classifier", "generator_width": 4, "discriminator_width": 4},
        "objective": {
            "generator": "boundary_seeking",
            "output": "log_ratio",
            "penalties": {"r1": 0.0},
            **objective,
        },
        "train": {
            "steps": 6, "batch_size": 4, "record_every": 20, "sample_grid": 2,
            "discriminator_optimiser": "rmsprop", "betas": [0.0, 0.99],
        },
    }  # fmt: skip
    return parse(Config, values, "test")


def data(count: int = 22, classes: int = 5) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, classes, count)
    # Each image says its label: the check that the two stay together needs no more.
    images = rng.integers(0, 20, (count, 1, 8, 8)).astype(np.uint8)
    images[:, 0, 0, 0] = labels
    return images, labels


def trainer(alphabet: Alphabet = FIVE, **objective: object) -> Trainer:
    images, labels = data(classes=alphabet.size)
    return Trainer(configure(**objective), TrainingSet(images, alphabet, labels), device=CPU)


def batch(alphabet: Alphabet = FIVE) -> Labelled:
    images, labels = data(4, alphabet.size)
    return Labelled(torch.from_numpy(images), torch.from_numpy(labels))


# --- F by look-up --------------------------------------------------------------------------


@settings(deadline=None)
@given(
    classes=st.integers(2, 7),
    rows=st.integers(1, 6),
    samples=st.integers(1, 5),
    seed=st.integers(0, 99),
)
def test_a_look_up_is_the_entry_of_the_table(classes: int, rows: int, samples: int, seed: int):
    rng = torch.Generator().manual_seed(seed)
    table = torch.randn(rows, classes, generator=rng, dtype=torch.float64).requires_grad_()
    labels = torch.randint(0, classes, (samples, rows), generator=rng).to(torch.uint8)
    found = look_up(table, labels.flatten())
    expected = torch.stack(
        [table[b, int(labels[m, b])] for m in range(samples) for b in range(rows)]
    )
    assert torch.equal(found, expected)
    # As the full product with one-hot labels, gradient included.
    full = (one_hot(labels.flatten(), classes).double() * table.repeat(samples, 1)).sum(1)
    torch.testing.assert_close(found, full)
    weights = torch.randn(samples * rows, generator=rng, dtype=torch.float64)
    (by_look_up,) = torch.autograd.grad((weights * found).sum(), table)
    (by_product,) = torch.autograd.grad((weights * full).sum(), table)
    torch.testing.assert_close(by_look_up, by_product)


def test_over_probabilities_the_look_up_is_the_mean():
    table = torch.tensor([[1.0, 2.0, 4.0], [8.0, 16.0, 32.0]], dtype=torch.float64)
    shares = torch.tensor([[0.5, 0.25, 0.25], [0.0, 1.0, 0.0]], dtype=torch.float64)
    shares.requires_grad_()
    found = look_up(table, shares)
    assert found.tolist() == [2.0, 16.0]
    (gradient,) = torch.autograd.grad(found.sum(), shares)
    assert torch.equal(gradient, table)


# --- the gradient of the classifier, by enumeration --------------------------------------------


def enumerated(classes: int = 4, rows: int = 3) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """True p(y|x), logits ℓ of g, all labels `[V, B]`, and log g of them, in float64."""
    rng = torch.Generator().manual_seed(1)
    truth = torch.randn(rows, classes, generator=rng, dtype=torch.float64).softmax(1)
    logits = torch.randn(rows, classes, generator=rng, dtype=torch.float64).requires_grad_()
    labels = torch.arange(classes)[:, None].expand(classes, rows).contiguous()
    return truth, logits, labels, log_prob(logits, labels)


def weights_of_the_optimum(
    divergence: str, truth: Tensor, logits: Tensor, labels: Tensor
) -> Tensor:
    """Log w `[V, B]` of a discriminator that is optimal: with `log_ratio` F = log p/q."""
    table = truth.log() - logits.detach().log_softmax(1)
    found = look_up(table, labels.flatten())
    return estimators.log_weights(found, divergence, "log_ratio").view_as(labels)


@pytest.mark.parametrize("divergence", DIVERGENCES)
def test_reinforce_expects_the_gradient_of_the_reverse_divergence(divergence: str):
    truth, logits, labels, log_probs = enumerated()
    log_weights = weights_of_the_optimum(divergence, truth, logits, labels)
    # Each label as the only sample, in proportion to its chance: the expectation, exactly.
    chances = log_probs.detach().exp()  # [V, B]
    expected = torch.zeros((), dtype=torch.float64)
    for y, b in itertools.product(range(4), range(3)):
        one = (slice(y, y + 1), slice(b, b + 1))
        loss = estimators.reinforce_loss(log_probs[one], log_weights[one], 0.3)
        expected = expected + chances[y, b] * loss / 3
    (found,) = torch.autograd.grad(expected, logits, retain_graph=True)
    guess = logits.log_softmax(1)
    reverse = (guess.exp() * (guess - truth.log())).sum(1).mean()
    (analytic,) = torch.autograd.grad(reverse, logits)
    torch.testing.assert_close(found, analytic, rtol=0, atol=1e-10)


@pytest.mark.parametrize("divergence", DIVERGENCES)
def test_importance_over_all_labels_is_the_gradient_of_cross_entropy(divergence: str):
    """Σ_y q w (−∂ log g) / Σ_y q w with w = p/q is −Σ_y p ∂ log g: softmax(ℓ) − p, exactly."""
    truth, logits, labels, log_probs = enumerated()
    log_weights = weights_of_the_optimum(divergence, truth, logits, labels)
    # All V labels, each counted as often as it is drawn for M → ∞.
    loss = estimators.importance_loss(log_probs, log_weights + log_probs.detach())
    (found,) = torch.autograd.grad(loss, logits)
    analytic = (logits.detach().softmax(1) - truth) / len(truth)
    torch.testing.assert_close(found, analytic, rtol=0, atol=1e-10)


def test_a_critics_gradient_through_probabilities_is_that_of_the_mean():
    """∂/∂ℓ of −Σ_y g(y|x) F(x, y) is −g·(F − Σ g F)."""
    _, logits, _, _ = enumerated()
    table = torch.randn(3, 4, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    (found,) = torch.autograd.grad(-look_up(table, logits.softmax(1)).mean(), logits)
    chances = logits.detach().softmax(1)
    analytic = -chances * (table - (chances * table).sum(1, keepdim=True)) / 3
    torch.testing.assert_close(found, analytic, rtol=0, atol=1e-12)


# --- the players -------------------------------------------------------------------------------


@pytest.mark.parametrize("alphabet", [TWO, FIVE], ids=["two labels", "five labels"])
@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_a_resumed_game_is_the_same_to_the_bit(mechanism: str, alphabet: Alphabet):
    whole = trainer(alphabet, **MECHANISMS[mechanism])
    for _ in range(7):  # over the end of an epoch, five batches long
        whole.advance()
    part = trainer(alphabet, **MECHANISMS[mechanism])
    for _ in range(3):
        part.advance()
    file = io.BytesIO()
    torch.save(part.state_dict(), file)
    file.seek(0)
    resumed = trainer(alphabet, **MECHANISMS[mechanism])
    resumed.load_state_dict(torch.load(file, weights_only=True))
    for _ in range(4):
        resumed.advance()
    assert_same_state(resumed.state_dict(), whole.state_dict())
    assert np.isfinite(whole.rows()).all()


def test_labels_stay_with_their_images():
    run = trainer()
    for _ in range(13):
        given = run._batches.next()
        assert isinstance(given, Labelled)
        assert torch.equal(given.examples[:, 0, 0, 0].long(), given.labels)


def test_drawn_labels_are_those_of_the_classifiers_distribution():
    players = trainer(discrete={"samples": 1000}).players
    real = players._real_examples(batch())
    assert (real.dtype, real.tolist()) == (torch.uint8, batch().labels.tolist())
    fake = players._draw_fake()
    assert (fake.examples.dtype, fake.examples.shape) == (torch.uint8, (4000,))
    assert fake.log_probs.shape == (1000, 4)
    assert fake.latent.shape == (4, 64)
    labels = fake.examples.view(1000, 4)
    logits = players.generator(to_network(batch().examples))
    expected = logits.log_softmax(1).gather(1, labels.mT.long()).mT
    torch.testing.assert_close(fake.log_probs, expected)
    shares = one_hot(labels.flatten(), 5).view(1000, 4, 5).mean(0)
    assert (shares - logits.softmax(1)).abs().max() < 0.06  # nearly four deviations


def test_one_image_passes_the_discriminator_once_for_all_its_pairs():
    players = trainer(discrete={"samples": 7}).players
    seen = []
    players.discriminator.register_forward_hook(lambda _, given, __: seen.append(len(given[0])))
    players.play(0, batch)
    # Real pairs, 28 generated ones, and the weights of these: from one pass of four images.
    assert seen == [4]
    seen.clear()
    trainer_of_three = trainer(g_steps=3, discrete={"samples": 7}).players
    trainer_of_three.discriminator.register_forward_hook(
        lambda _, given, __: seen.append(len(given[0]))
    )
    trainer_of_three.play(0, batch)
    assert seen == [4, 4, 4]


def test_a_step_of_the_generator_is_the_textbook_step():
    players = trainer(discriminator="kl", discrete={"samples": 6}).players
    before = copy.deepcopy(players.generator)
    table = copy.deepcopy(players.discriminator)(to_network(batch().examples)).detach()
    players.play(0, batch)
    images = to_network(batch().examples)
    # The same stream: the first draw of the same seed.
    again = trainer(discriminator="kl", discrete={"samples": 6}).players
    again._real_examples(batch())
    labels = again._draw_fake().examples.view(6, 4).long()
    log_probs = before(images).log_softmax(1).gather(1, labels.mT).mT  # [M, B]
    weights = table.gather(1, labels.mT).mT.softmax(0)  # log w = F
    loss = -(weights * log_probs).sum(0).mean()
    loss.backward()
    for (name, mine), textbook in zip(
        players.generator.named_parameters(), before.parameters(), strict=True
    ):
        torch.testing.assert_close(mine.grad, textbook.grad, msg=name)


def test_a_critic_sees_one_hot_labels_and_probabilities():
    players = trainer(**CRITIC, discrete={"estimator": "relaxed"}).players
    real = players._real_examples(batch())
    assert torch.equal(real, F.one_hot(batch().labels, 5).float())
    fake = players._draw_fake()
    torch.testing.assert_close(fake.examples, players.generator(players._images).softmax(1))
    before = snapshot(players.discriminator)
    players.play(0, batch)
    after = snapshot(players.discriminator)
    assert any(not torch.equal(before[name], after[name]) for name in before)
    assert max(value.abs().max() for value in after.values()) <= 0.1


def test_the_history_has_the_columns_of_weighed_samples():
    run = trainer(discrete={"samples": 3})
    run.advance()
    found = measured(run)
    assert 1 <= found["effective_sample_size"] <= 3
    assert 0 < found["generator_entropy"] < np.log(5) + 0.5
    assert "generator_entropy" in run.columns()


def test_certainty_gives_no_alarm():
    run = trainer(discrete={"samples": 3})
    names = run.players.measures
    row = dict.fromkeys(names, 0.5)
    for step in range(20):
        row["generator_entropy"] = 1.5 if step < 2 else 1e-4
        run.history.append([float(step), 4.0 * step, *(row[name] for name in names)])
    assert "lost_entropy" in {alarm.name for alarm in alarms(run.columns())}
    assert "lost_entropy" not in {alarm.name for alarm in run.alarms()}


def test_fixed_samples_are_what_the_average_says_of_the_first_images():
    run = trainer()
    run.advance()
    images = to_network(torch.from_numpy(data()[0][:3]))
    expected = run.average(images).softmax(1)
    torch.testing.assert_close(torch.from_numpy(run.fixed_samples(3)), expected)


@pytest.mark.parametrize("alphabet", [None, Colours.levels(256)])
def test_a_classifier_without_labels_has_no_network(alphabet: Colours | None):
    images, _ = data()
    examples = images if alphabet is None else images[:, 0]
    with pytest.raises(ValueError, match="expected an alphabet of labels, for a classifier"):
        Trainer(configure(), TrainingSet(examples, alphabet), device=CPU)


@pytest.mark.slow
@pytest.mark.parametrize("estimator", ["importance", "reinforce"])
def test_a_noisy_label_is_learned_with_its_chances(estimator: str):
    """Two images; the labels of one are a fair coin's, the other's are certain."""
    images = np.repeat(np.array([[[[0]]], [[[255]]]], np.uint8), 8, 2).repeat(8, 3)
    images = np.concatenate([images] * 8)
    labels = np.array([[0, 2], [1, 2]] * 4).flatten()
    config = parse(
        Config,
        {
            **configure(discrete={"estimator": estimator}).model_dump(),
            "train": {
                "batch_size": 16, "generator_learning_rate": 1e-2, "record_every": 300,
                "discriminator_learning_rate": 1e-2, "ema_half_life": 1000.0,
            },
        },
        "test",
    )  # fmt: skip
    alphabet = ClassNames(("heads", "tails", "edge"))
    run = Trainer(config, TrainingSet(images, alphabet, labels), device=CPU)
    for _ in range(250):
        run.advance()
    dark, bright = run.fixed_samples(2)
    assert bright[2] > 0.9
    assert dark[:2] == pytest.approx([0.5, 0.5], abs=0.15)
