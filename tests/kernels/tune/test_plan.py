import itertools

import pytest

from kernels import tune
from kernels.conv_transpose import tiles
from kernels.conv_transpose.tiles import TileConfig
from kernels.tune.plan import Problem, candidates, epilogues, fits, predicted, problems

MIDDLE = Problem("dgrad", "bf16", 512, 256, 4, 512)


@pytest.mark.parametrize("architecture", [80, 90, 100, 120])
def test_candidates_are_few_fit_and_have_the_rules_own_first(architecture: int) -> None:
    for problem in problems(tune.LAYERS, [64, 512], ["bf16", "tf32", "fp32"]):
        found = candidates(problem, architecture)
        assert found[0] == problem.config(architecture)
        assert candidates(problem, architecture, quick=True) == found[:1]
        assert len(set(found)) == len(found) == tune.MOST == 6
        assert all(fits(problem, config, architecture) for config in found[1:])
        assert len({config[:2] for config in found}) > 1  # not one tile alone
        if problem.op == "dgrad" and problem.a <= tiles.PACKED_CHANNELS:
            assert {config.block_n for config in found} == {16}
        # As launched, so that the table says what ran.
        assert [problem.launched(config) for config in found] == found
        if problem.config(architecture).tma:  # by pointers too
            assert {config.tma for config in found} == {True, False}


def test_what_networks_compute_beside_a_product() -> None:
    assert epilogues("wgrad", 256) == ("plain",)
    assert epilogues("dgrad", 256) == epilogues("fprop", 256) == ("plain", "statistics")
    assert epilogues("dgrad", 3) == epilogues("fprop", 3) == ("plain",)
    found = list(problems(tune.LAYERS[:1], [64], ["bf16"]))
    assert [problem[0::6] for problem in found] == [
        ("dgrad", "plain"),
        ("dgrad", "statistics"),
        ("fprop", "plain"),
        ("fprop", "statistics"),
        ("wgrad", "plain"),
    ]
    folded = problems(tune.LAYERS[:1], [64], ["bf16"], ["plain", "folded"])
    assert [problem[0::6] for problem in folded] == [
        ("dgrad", "plain"),
        ("dgrad", "folded"),
        ("fprop", "plain"),
        ("fprop", "folded"),
        ("wgrad", "plain"),
    ]


def test_what_cannot_fit() -> None:
    large = TileConfig(256, 128, 64, 8, 3)
    assert fits(MIDDLE, large, 90)
    assert not fits(MIDDLE, large._replace(warps=4), 90)  # 256 accumulators a thread
    assert not fits(MIDDLE, large._replace(stages=5), 90)  # 240 KiB
    assert not fits(MIDDLE, large, 120)  # 144 KiB of 99
    # A second tile of registers, but not of boxes.
    assert not fits(MIDDLE._replace(epilogue="statistics"), large, 90)
    assert fits(MIDDLE._replace(epilogue="statistics"), large._replace(tma=True), 90)


def test_the_model_by_hand() -> None:
    """dgrad of 8192 positions, 512 → 256 channels, 128×128×64 with 8 warps."""
    config = TileConfig(128, 128, 64, 8, 3)
    programs, steps = 4 * 64 * 2, 4 * 8
    waves = programs / 132
    traffic = 256 * 64 * 2 * steps * programs / 5.5e12
    assert predicted(MIDDLE, config) == pytest.approx(traffic + 4 * waves * 0.8e-6)
    flat = config._replace(nested=False)
    assert predicted(MIDDLE, flat) == predicted(MIDDLE, config._replace(tma=True))
    assert predicted(MIDDLE, flat) == pytest.approx(traffic + waves * 0.8e-6)
    # A tile of twice the rows moves fewer bytes a product.
    assert predicted(MIDDLE, config._replace(block_m=256)) < predicted(MIDDLE, config)


def test_the_model_is_never_below_the_roof() -> None:
    for problem, architecture in itertools.product(
        problems(tune.LAYERS, [64, 512], ["bf16"]), [90]
    ):
        flops = 32 * problem.positions * problem.a * problem.b
        for config in candidates(problem, architecture):
            assert predicted(problem, config) > flops / 780e12
