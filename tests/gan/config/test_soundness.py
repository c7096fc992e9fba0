"""Which games are refused, and with what reason."""

import pytest

from gan.config import Config, parse
from gan.errors import ConfigError

NO_PENALTY = {"r1": 0.0}


def config(objective: dict | None = None, model: dict | None = None, train: dict | None = None):
    values = {"objective": {"penalties": NO_PENALTY, **(objective or {})}}
    values["model"], values["train"] = model or {}, train or {}
    return parse(Config, values, "params.yaml")


WASSERSTEIN = {"discriminator": "wasserstein", "generator": "wasserstein"}
CLIPPED = {**WASSERSTEIN, "weight_clip": 0.01}
RMSPROP = {"discriminator_optimiser": "rmsprop"}
UNSOUND = [
    (
        {"penalties": {"r1": 0.1}},
        {"discriminator_norm": "batch"},
        {},
        r"penalties.r1 is 0.1, a penalty on each sample's own gradient, .*discriminator_norm batch "
        "mixes the samples",
    ),
    (
        {"penalties": {"r1": 0.0, "r2": 0.2}},
        {"discriminator_norm": "batch"},
        {},
        r"penalties.r2 is 0.2.*discriminator_norm batch",
    ),
    (
        {**WASSERSTEIN, "penalties": {"r1": 0.0, "gradient_penalty": 10.0}},
        {"discriminator_norm": "batch"},
        {},
        r"penalties.gradient_penalty is 10.0.*discriminator_norm none or layer",
    ),
    (WASSERSTEIN, {}, {}, r"wasserstein, whose loss has no lower bound"),
    (
        {**WASSERSTEIN, "penalties": {"r1": 0.1}},
        {},
        {},
        r"wasserstein, whose loss has no lower bound",
    ),
    (
        WASSERSTEIN,
        {"spectral_norm": True, "discriminator_norm": "layer"},
        {},
        r"no lower bound .*spectral_norm true with model.discriminator_norm none",
    ),
    (CLIPPED, {}, {}, r"discriminator_optimiser is adam with train.betas\[0\] 0.5.*momentum"),
    (CLIPPED, {"spectral_norm": True}, RMSPROP, r"weight_clip is 0.01, but model.spectral_norm"),
    (
        {"discriminator": "gan", "generator": "wasserstein"},
        {},
        {},
        r"do not play one game: expected generator saturating, non_saturating or boundary_seeking",
    ),
    (
        {"discriminator": "relativistic", "generator": "hinge"},
        {},
        {},
        r"do not play one game: expected generator relativistic",
    ),
]


@pytest.mark.parametrize(("objective", "model", "train", "reason"), UNSOUND)
def test_what_is_unsound_is_refused_with_the_reason_or_allowed(objective, model, train, reason):
    with pytest.raises(ConfigError, match=reason) as caught:
        config(objective, model, train)
    assert "objective.allow_unsound true plays it all the same" in str(caught.value)
    config({**objective, "allow_unsound": True}, model, train)


@pytest.mark.parametrize(
    ("objective", "reason"),
    [
        (
            {"discriminator": "total_variation", "generator": "boundary_seeking"},
            "importance weight is 1, but that of objective.discriminator total_variation is 1",
        ),
        (
            {"discriminator": "pearson", "generator": "boundary_seeking"},
            "F/2 \\+ 1, negative below F = −2: expected output log_ratio",
        ),
        ({"discriminator": "total_variation", "output": "log_ratio"}, "no activation makes it exp"),
        (
            {"discriminator": "hinge", "generator": "hinge", "output": "log_ratio"},
            "log_ratio, an activation of f-divergences, but objective.discriminator hinge is none",
        ),
        (
            {"discriminator": "hinge", "generator": "saturating"},
            "saturating, which follows from an f-divergence.*expected generator hinge",
        ),
        ({"centred": True}, "centred is true, but objective.generator non_saturating"),
        ({"least_squares": {"a": 1.0}}, "a is 1.0 and b 1.0: .* expected a below b"),
        ({"least_squares": {"c": 0.0}}, "c is 0.0 and a 0.0: .* expected c above a"),
        ({"least_squares": {"a": -1.0}}, "a -1.0, b 1.0, c 1.0, but neither .* is least_squares"),
    ],
)
def test_what_is_not_defined_is_refused_whatever_is_allowed(objective, reason):
    for allowed in (False, True):
        with pytest.raises(ConfigError, match=reason):
            config({**objective, "allow_unsound": allowed})


@pytest.mark.parametrize(
    ("objective", "model", "train"),
    [
        ({**WASSERSTEIN, "penalties": {"r1": 0.0, "gradient_penalty": 1.0}}, {}, {}),
        (
            {**WASSERSTEIN, "penalties": {"r1": 0.0, "gradient_penalty": 1.0}},
            {"discriminator_norm": "layer"},
            {},
        ),
        (WASSERSTEIN, {"spectral_norm": True}, {}),
        (CLIPPED, {}, RMSPROP),
        (CLIPPED, {"discriminator_norm": "batch"}, RMSPROP),
        (CLIPPED, {}, {"betas": [0.0, 0.9]}),
        ({"discriminator": "hinge", "generator": "wasserstein"}, {}, {}),
        (
            {"discriminator": "pearson", "generator": "boundary_seeking", "output": "log_ratio"},
            {},
            {},
        ),
        ({"generator": "boundary_seeking", "centred": True}, {}, {}),
        ({}, {"discriminator_norm": "batch"}, {}),
    ],
)
def test_what_is_sound_is_not_refused(objective, model, train):
    config(objective, model, train)


def test_a_weight_decay_that_nobody_applies_is_refused():
    with pytest.raises(ConfigError, match=r"weight_decay is 0.1, but neither optimiser is adamw"):
        config(train={"weight_decay": 0.1})
    config(train={"weight_decay": 0.1, "generator_optimiser": "adamw"})


SYMBOLS = {"levels": 2}
TEXT = {"name": "topics"}
WEIGHED = {"generator": "boundary_seeking"}


def discrete(
    objective: dict, data: dict | None = None, model: dict | None = None, train: dict | None = None
):
    data = data or SYMBOLS
    model = {"name": "text" if data.get("name") == "topics" else "dcgan", **(model or {})}
    values = {
        "data": data,
        "model": model,
        "objective": {"penalties": NO_PENALTY, **objective},
        "train": train or {},
    }
    return parse(Config, values, "params.yaml")


@pytest.mark.parametrize(
    ("objective", "data", "reason"),
    [
        (
            {},
            SYMBOLS,
            "estimator is importance, which weighs samples by the discriminator's p/q, but "
            "objective.generator non_saturating .* expected generator boundary_seeking, or "
            "estimator straight_through or relaxed",
        ),
        (
            {**CLIPPED, "discrete": {"estimator": "reinforce"}},
            SYMBOLS,
            "estimator is reinforce, .* but objective.generator wasserstein",
        ),
        (
            {**WEIGHED, "discriminator": "total_variation"},
            SYMBOLS,
            "importance weight is 1, but that of objective.discriminator total_variation",
        ),
        ({**WEIGHED, "discriminator": "pearson"}, SYMBOLS, "negative below F = −2"),
        ({**WEIGHED, "discriminator": "hinge"}, SYMBOLS, "which follows from an f-divergence"),
        ({**WEIGHED, "centred": True}, SYMBOLS, "centred is true, but on symbols"),
        (
            {**WEIGHED, "discrete": {"samples": 1}},
            SYMBOLS,
            "samples is 1, but the normalised weight of a single sample is 1",
        ),
        (
            {
                **WEIGHED,
                "discrete": {"estimator": "reinforce", "baseline": "leave_one_out", "samples": 1},
            },
            SYMBOLS,
            "samples is 1, but baseline leave_one_out compares a sample with the others",
        ),
        (
            {**WEIGHED, "discrete": {"estimator": "reinforce", "control_variate": True}},
            SYMBOLS,
            "control_variate is true, but estimator reinforce has no use for it: expected false",
        ),
        (
            {**WEIGHED, "penalties": {"r1": 0.1}},
            TEXT,
            "penalties.r1 is 0.1, .* symbols of text, by which there is no slope: expected r1 0",
        ),
        (
            {**WEIGHED, "penalties": {"r1": 0.0, "gradient_penalty": 1.0, "r2": 2.0}},
            TEXT,
            "penalties.gradient_penalty is 1.0.*penalties.r2 is 2.0",
        ),
        (
            {**WEIGHED, "discrete": {"temperature": 0.5}},
            SYMBOLS,
            "temperature is 0.5, but estimator importance has no use for it: expected 1.0",
        ),
        (
            {"discrete": {"estimator": "relaxed", "samples": 5}},
            SYMBOLS,
            "samples is 5, but estimator relaxed",
        ),
        (
            {**WEIGHED, "discrete": {"estimator": "reinforce", "normalisation": "batch"}},
            SYMBOLS,
            "normalisation is batch, but estimator reinforce",
        ),
        (
            {**WEIGHED, "discrete": {"baseline": "learned"}},
            SYMBOLS,
            "baseline is learned, but estimator importance",
        ),
        (
            {
                **WEIGHED,
                "discrete": {"estimator": "reinforce", "baseline": "none", "baseline_rate": 0.1},
            },
            SYMBOLS,
            "baseline_rate is 0.1, .* expected 0.005, the default, or baseline moving_average",
        ),
        (
            {"discrete": {"estimator": "relaxed"}},
            {"name": "digits"},
            "discrete has estimator relaxed, but the data are images, not symbols",
        ),
        (
            {"discrete": {"samples": 3, "temperature": 0.1}},
            {"name": "idx"},
            "discrete has samples 3, temperature 0.1, but the data are images",
        ),
    ],
)
def test_what_cannot_be_played_on_symbols_or_on_numbers_is_refused(objective, data, reason):
    for allowed in (False, True):
        with pytest.raises(ConfigError, match=reason):
            discrete({**objective, "allow_unsound": allowed}, data)


@pytest.mark.parametrize(
    ("objective", "data"),
    [
        (WEIGHED, SYMBOLS),
        ({**WEIGHED, "penalties": {"r1": 0.1, "r2": 0.1, "gradient_penalty": 1.0}}, SYMBOLS),
        (WEIGHED, TEXT),
        ({**WEIGHED, "discriminator": "pearson", "output": "log_ratio"}, TEXT),
        ({**WEIGHED, "discrete": {"samples": 1, "normalisation": "batch"}}, SYMBOLS),
        ({**WEIGHED, "discrete": {"estimator": "reinforce", "samples": 1}}, TEXT),
        ({**WEIGHED, "discrete": {"estimator": "reinforce", "baseline": "learned"}}, SYMBOLS),
        ({"discrete": {"estimator": "straight_through", "temperature": 0.5}}, SYMBOLS),
        (
            {
                **WASSERSTEIN,
                "penalties": {"r1": 0.0, "gradient_penalty": 10.0},
                "discrete": {"estimator": "relaxed"},
            },
            TEXT,
        ),
        # In colours and probabilities there is a distance to the boundary, too.
        ({**WEIGHED, "centred": True, "discrete": {"estimator": "relaxed"}}, SYMBOLS),
    ],
)
def test_what_can_be_played_on_symbols_is_not_refused(objective, data):
    discrete(objective, data)


def test_text_is_for_networks_of_text_and_no_other():
    with pytest.raises(ConfigError, match=r"name is dcgan, but data.name topics has text: .* text"):
        discrete(WEIGHED, TEXT, {"name": "dcgan"})
    with pytest.raises(ConfigError, match=r"name is text, but .* digits has images: .* dcgan or"):
        discrete(WEIGHED, SYMBOLS, {"name": "text"})
    discrete(WEIGHED, SYMBOLS, {"name": "resnet"})
