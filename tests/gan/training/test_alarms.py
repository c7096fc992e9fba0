import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gan.training import alarms
from gan.training.alarms import CHECKS

ROWS = 60
Columns = dict[str, list[float]]


def noise(mean: float, deviation: float, seed: int = 0, rows: int = ROWS) -> list[float]:
    rng = random.Random(seed)
    return [rng.gauss(mean, deviation) for _ in range(rows)]


def healthy(seed: int = 0) -> Columns:
    """A game near its equilibrium, as digits give it."""
    return {
        "discriminator_loss": noise(1.05, 0.05, seed),
        "generator_loss": noise(0.95, 0.06, seed + 1),
        "total_loss": noise(2.0, 0.08, seed + 2),
        "real_accuracy": noise(0.84, 0.02, seed + 3),
        "fake_accuracy": noise(0.83, 0.02, seed + 4),
        "gradient_ratio": noise(0.7, 0.05, seed + 5),
        "spread": noise(0.97, 0.02, seed + 6),
        "at_bound": [0.0] * ROWS,
    }


def names(columns: Columns) -> list[str]:
    return [alarm.name for alarm in alarms.alarms(columns)]


@pytest.mark.parametrize("seed", range(40))
def test_a_healthy_game_gives_none(seed: int):
    assert names(healthy(100 * seed)) == []


def test_a_discriminator_that_nothing_fools():
    columns = {
        **healthy(),
        "real_accuracy": [0.8] * 30 + [0.999] * 30,
        "fake_accuracy": [0.8] * 30 + [0.998] * 30,
        "gradient_ratio": [0.5] * 30 + [0.004] * 30,
    }
    (alarm,) = alarms.alarms(columns)
    assert alarm.name == "discriminator_too_strong"
    assert "right on 99.9% of real and 99.8% of generated samples" in alarm.message
    assert "saturating gradient at 0.4% of the other" in alarm.message
    # Right, but not sure of it: the gradient is still there.
    assert names({**columns, "gradient_ratio": [0.3] * ROWS}) == []
    # What was once so is no longer said.
    assert names({name: values[::-1] for name, values in columns.items()}) == []
    del columns["gradient_ratio"]
    assert names(columns) == ["discriminator_too_strong"]


def test_a_discriminator_that_is_worse_than_chance():
    columns = {**healthy(), "real_accuracy": [0.3] * ROWS, "fake_accuracy": [0.5] * ROWS}
    (alarm,) = alarms.alarms(columns)
    assert alarm.name == "discriminator_too_weak"
    assert "right on 40.0% of all samples, worse than chance" in alarm.message


def test_chance_is_an_alarm_only_while_there_is_something_to_tell():
    chance = {**healthy(), "real_accuracy": [0.6] * ROWS, "fake_accuracy": [0.42] * ROWS}
    assert names(chance) == []  # the equilibrium
    wide = {**chance, "spread": [1.6] * ROWS}
    (alarm,) = alarms.alarms(wide)
    assert alarm.name == "discriminator_too_weak"
    assert "the samples' spread is 1.60 of the data's" in alarm.message


@pytest.mark.parametrize("period", [3, 5, 8, 12])
@pytest.mark.parametrize("column", ["generator_loss", "discriminator_loss"])
def test_a_game_that_goes_in_circles(period: int, column: str):
    wave = [1 + 0.5 * math.sin(2 * math.pi * row / period) for row in range(ROWS)]
    hiss = noise(0, 0.1, 9)
    columns = {**healthy(), column: [a + b for a, b in zip(wave, hiss, strict=True)]}
    (alarm,) = alarms.alarms(columns)
    assert alarm.name == "oscillation"
    assert f"{column} repeats itself every" in alarm.message
    found = int(alarm.message.partition("every ")[2].split()[0])
    # A multiple of the period fits as well.
    assert min(found % period, period - found % period) <= 1


def test_neither_a_trend_nor_small_swings_nor_half_a_swing_is_an_oscillation():
    falling = {**healthy(), "generator_loss": [3 - 0.04 * row for row in range(ROWS)]}
    assert names(falling) == []
    small = [1 + 0.05 * math.sin(row) for row in range(ROWS)]
    assert names({**healthy(), "generator_loss": small}) == []
    slow = [1 + math.sin(2 * math.pi * row / 80) for row in range(ROWS)]
    assert names({**healthy(), "generator_loss": slow}) == []
    assert names({**healthy(), "generator_loss": [0.7] * ROWS}) == []


def test_noise_around_zero_is_no_oscillation_however_short_the_run():
    """A critic's losses, whose every swing is large against their mean."""
    raised = sum(
        "oscillation" in names({"generator_loss": noise(0, 1, seed, rows)})
        for seed in range(200)
        for rows in (32, 40, 60)
    )
    assert raised <= 6


def test_an_oscillation_around_a_trend():
    wave = [2 - 0.02 * row + 0.5 * math.sin(2 * math.pi * row / 6) for row in range(ROWS)]
    assert names({**healthy(), "generator_loss": wave}) == ["oscillation"]


def test_samples_that_become_alike():
    columns = {**healthy(), "spread": [1 - 0.015 * row for row in range(ROWS)]}
    (alarm,) = alarms.alarms(columns)
    assert alarm.name == "collapse"
    assert "varies 0.20 times as much" in alarm.message


def test_a_loss_at_the_bound():
    (alarm,) = alarms.alarms({**healthy(), "at_bound": [0.0] * 40 + [0.02] * 20})
    assert alarm.name == "at_exponent_bound"
    assert "2.00% of the logits" in alarm.message
    assert names({**healthy(), "at_bound": [0.0005] * ROWS}) == []


def test_a_weight_that_dominates_for_long():
    columns = {**healthy(), "effective_sample_size": noise(12, 1, 20)}
    assert names(columns) == []
    size = [12.0] * 20 + [1.2] * 40
    (alarm,) = alarms.alarms({**columns, "effective_sample_size": size})
    assert alarm.name == "dominating_weight"
    assert "count for 1.20 in effect" in alarm.message
    # Not for long, or not any more.
    assert names({**columns, "effective_sample_size": [12.0] * 40 + [1.2] * 20}) == []
    assert names({**columns, "effective_sample_size": [1.2] * 55 + [3.0] * 5}) == []
    assert names({**columns, "effective_sample_size": [1.6] * ROWS}) == []
    assert names({**columns, "effective_sample_size": [math.nan] * ROWS}) == []


def test_a_generator_that_has_lost_its_entropy():
    falling = [0.69 * 0.85**row for row in range(ROWS)]
    (alarm,) = alarms.alarms({**healthy(), "generator_entropy": falling})
    assert alarm.name == "lost_entropy"
    assert "nats a symbol are left of 0.69" in alarm.message
    # Sharp, but not alike: 256 pixels of 0.02 nats are 5 nats a picture.
    sharp = [max(0.02, value) for value in falling]
    assert names({**healthy(), "generator_entropy": sharp}) == []
    # Little from the start on: nothing was lost.
    assert names({**healthy(), "generator_entropy": [0.005] * ROWS}) == []
    # A large alphabet: one hundredth of log 96 is more than one hundredth of a nat.
    assert names({**healthy(), "generator_entropy": [4.5] * 40 + [0.03] * 20}) == []


def test_several_at_once_keep_their_order():
    columns = {
        **healthy(),
        "at_bound": [1.0] * ROWS,
        "spread": [0.0] * ROWS,
        "real_accuracy": [1.0] * ROWS,
        "fake_accuracy": [1.0] * ROWS,
        "gradient_ratio": [0.0] * ROWS,
    }
    assert names(columns) == ["discriminator_too_strong", "collapse", "at_exponent_bound"]
    assert all("\n" not in alarm.message for alarm in alarms.alarms(columns))


def test_too_few_rows_missing_columns_and_holes_are_no_cause():
    assert names({}) == []
    assert names({"step": [1.0, 2.0]}) == []
    assert names({"spread": [0.0] * (alarms.MIN_ROWS - 1)}) == []
    assert names({"spread": [0.0] * alarms.MIN_ROWS}) == ["collapse"]
    assert names({"spread": [math.nan] * ROWS}) == []
    assert names({"spread": [math.nan, 0.1] * 30}) == ["collapse"]


def test_columns_of_different_lengths_are_refused():
    with pytest.raises(ValueError, match="different lengths"):
        alarms.alarms({"spread": [1.0], "real_accuracy": [1.0, 1.0]})


@settings(max_examples=100, deadline=None)
@given(
    st.integers(0, 40).flatmap(
        lambda rows: st.fixed_dictionaries(
            {
                name: st.lists(st.floats(width=32), min_size=rows, max_size=rows)
                for name in (
                    "generator_loss",
                    "real_accuracy",
                    "fake_accuracy",
                    "spread",
                    "at_bound",
                    "effective_sample_size",
                    "generator_entropy",
                )
            }
        )
    )
)
def test_no_history_whatsoever_is_an_error(columns: Columns):
    assert set(names(columns)) <= set(CHECKS)
