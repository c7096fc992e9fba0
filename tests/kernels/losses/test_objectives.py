import pytest
import torch

from kernels.losses.definitions import DISCRIMINATOR_LOSSES, DIVERGENCES
from kernels.losses.objectives import discriminator_objective, generator_objective


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("gna",), r"loss='gna' is not known; known discriminator losses: .*Did you mean 'gan'\?"),
        (("hinge of fate",), r"relativistic, reverse_kl, squared_hellinger, total_variation, was"),
        (("gan", "fgan"), r"output='fgan' .* of 'gan': f_gan, log_ratio. .*'f_gan'\?"),
        (("hinge", "log_ratio"), r"output='log_ratio': loss='hinge' is no f-divergence .* default"),
        (("total_variation", "log_ratio"), r"constant 1 .*output='f_gan' is possible"),
        (
            ("least_squares", "f_gan", 1.0),
            r"a=1.0, b=1.0: expected .* a, below that of real ones",
        ),
        (("gan", "f_gan", 0.5), r"a=0.5, b=1.0: only loss='least_squares' .*not loss='gan'"),
    ],
)
def test_unknown_discriminators(arguments: tuple[str, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        discriminator_objective(*arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("saturated",), r"loss='saturated' .*known generator losses: .*Did you mean 'saturating'"),
        (("saturating", "gann"), r"divergence='gann' .*known divergences: .*Did you mean 'gan'\?"),
        (("saturating", "kl", "x"), r"output='x' .* of 'kl': f_gan, log_ratio$"),
        (("hinge", "hing"), r"divergence='hing' .*discriminator losses: .*Did you mean 'hinge'\?"),
        (("hinge", "hinge", "log_ratio"), r"divergence='hinge' is no f-divergence"),
        (
            ("non_saturating", "hinge"),
            r"loss='non_saturating' follows from an f-divergence, one of gan, .*'hinge' is none. "
            r"Generator losses that need none: hinge, least_squares, relativistic, wasserstein",
        ),
        (
            ("boundary_seeking", "total_variation"),
            r"not defined for divergence='total_variation': .*constant 1.*'saturating' and 'non_s",
        ),
        (("boundary_seeking", "pearson"), r"w = F/2 \+ 1 can be negative .*output='log_ratio'"),
        (("hinge", "gan", "f_gan", 2.0), r"c=2.0: only loss='least_squares' .*loss='hinge'"),
    ],
)
def test_unknown_generators(arguments: tuple[str, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        generator_objective(*arguments)


@pytest.mark.parametrize("divergence", DISCRIMINATOR_LOSSES)
@pytest.mark.parametrize("loss", ["least_squares", "hinge", "wasserstein", "relativistic"])
def test_some_generator_losses_take_any_discriminator(loss: str, divergence: str) -> None:
    assert generator_objective(loss, divergence) == generator_objective(loss)


def test_targets() -> None:
    x = torch.tensor([0.25])
    shifted = discriminator_objective("least_squares", a=-1.0, b=0.75)
    assert shifted.real is not None
    assert shifted.real(x).item() == 0.125
    assert shifted.fake(x).item() == pytest.approx(1.25**2 / 2)
    assert shifted.threshold == -0.125
    assert discriminator_objective("least_squares").threshold == 0.5
    assert generator_objective("least_squares", c=0.0).fake(x).item() == 0.25**2 / 2


@pytest.mark.parametrize("name", DIVERGENCES)
def test_weights_are_named_where_they_exist(name: str) -> None:
    weights = {
        output: discriminator_objective(name, output).log_weight
        for output in DIVERGENCES[name].outputs
    }
    if "log_ratio" in weights:
        assert weights["log_ratio"] == (1.0, 0.0)
    expected = {
        "kl": (1.0, -1.0),
        "pearson": None,
        "squared_hellinger": (2.0, 0.0),
        "total_variation": None,
    }
    assert weights["f_gan"] == expected.get(name, (1.0, 0.0))
