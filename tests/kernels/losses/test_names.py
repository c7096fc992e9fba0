"""Names, other words for them, and what a type checker and an error say of a slip."""

import inspect
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
import torch.nn.functional as F

import kernels
from kernels import DiscriminatorLoss, GeneratorLoss, discriminator_loss, generator_loss
from kernels.dispatch import IMPLEMENTATIONS, Impl
from kernels.losses import names
from kernels.losses.definitions import DISCRIMINATOR_LOSSES, DIVERGENCES, GENERATOR_LOSSES
from kernels.losses.names import ALIASES, OUTPUT_ALIASES
from kernels.losses.objectives import discriminator_objective, generator_objective

REAL = torch.linspace(-3, 4, 7, dtype=torch.float64)
FAKE = torch.linspace(2, -5, 7, dtype=torch.float64)


def test_the_types_are_the_tables() -> None:
    assert get_args(names.DivergenceName) == tuple(DIVERGENCES)
    assert get_args(names.DiscriminatorLossName) == tuple(DISCRIMINATOR_LOSSES)
    assert get_args(names.GeneratorLossName) == tuple(GENERATOR_LOSSES)
    outputs = {output for row in DIVERGENCES.values() for output in row.outputs}
    assert set(get_args(names.OutputName)) == outputs
    assert get_args(Impl) == IMPLEMENTATIONS
    words = {w for w, each in ALIASES.items() if each.discriminator is not None}
    assert set(get_args(names.DiscriminatorLossWord)) == set(DISCRIMINATOR_LOSSES) | words
    words = {w for w, each in ALIASES.items() if each.generator is not None}
    assert set(get_args(names.GeneratorLossWord)) == set(GENERATOR_LOSSES) | words
    assert set(get_args(names.OutputWord)) == outputs | set(OUTPUT_ALIASES)


def test_other_words_are_no_names() -> None:
    assert not set(ALIASES) & (set(DISCRIMINATOR_LOSSES) | set(GENERATOR_LOSSES))
    assert not set(OUTPUT_ALIASES) & set(get_args(names.OutputName))
    for each in ALIASES.values():
        assert each.discriminator in {None, *DISCRIMINATOR_LOSSES}
        assert each.generator in {None, *GENERATOR_LOSSES}
        assert each.discriminator or each.generator


@pytest.mark.parametrize("word", ALIASES)
def test_each_word_is_the_loss_that_it_stands_for(word: Any) -> None:
    discriminator, generator, divergence = ALIASES[word]
    if discriminator is not None:
        expected = discriminator_loss(REAL, FAKE, discriminator)
        assert torch.equal(discriminator_loss(REAL, FAKE, word), expected)
        assert torch.equal(DiscriminatorLoss(word)(REAL, FAKE), expected)
        of_generator = generator_loss(FAKE, "hinge", divergence=word)
        assert torch.equal(of_generator, generator_loss(FAKE, "hinge"))
    else:
        with pytest.raises(ValueError, match=f"loss='{word}' is what a generator minimises"):
            discriminator_loss(REAL, FAKE, word)
    if generator is not None:
        real = REAL if generator == "relativistic" else None
        expected = generator_loss(FAKE, generator, real_logits=real)
        assert torch.equal(generator_loss(FAKE, word, real_logits=real), expected)
        assert torch.equal(GeneratorLoss(word)(FAKE, real), expected)
    else:
        with pytest.raises(ValueError, match=f"loss='{word}' is what a discriminator minimises"):
            generator_loss(FAKE, word)
    if divergence is not None and generator is not None:
        with pytest.raises(ValueError, match=f"loss='{word}' is '{generator}' of '{divergence}'"):
            generator_loss(FAKE, word, divergence="kl")
    elif generator in ("saturating", "non_saturating", "boundary_seeking"):
        assert generator_objective(word, "rkl") == generator_objective(generator, "reverse_kl")


def test_bce_is_what_torch_calls_by_that_name() -> None:
    bce = F.binary_cross_entropy_with_logits
    ones, zeros = torch.ones_like(REAL), torch.zeros_like(FAKE)
    torch.testing.assert_close(
        discriminator_loss(REAL, FAKE, "bce"), bce(REAL, ones) + bce(FAKE, zeros)
    )
    torch.testing.assert_close(generator_loss(FAKE, "bce"), bce(FAKE, ones))
    # The game of the 2014 paper: one loss, of opposite sign, as far as it depends on G.
    torch.testing.assert_close(generator_loss(FAKE, "minimax"), -bce(FAKE, zeros))


def test_the_old_word_for_the_activation_of_f_gan() -> None:
    for loss in DISCRIMINATOR_LOSSES:
        assert discriminator_objective(loss, "nowozin") is discriminator_objective(loss, "f_gan")
        assert generator_objective("wgan", loss, "nowozin") is generator_objective("wgan")
    expected = discriminator_loss(REAL, FAKE, "kl")
    assert torch.equal(discriminator_loss(REAL, FAKE, "kl", output="nowozin"), expected)
    assert not torch.equal(discriminator_loss(REAL, FAKE, "kl", output="log_ratio"), expected)
    assert torch.equal(DiscriminatorLoss("kl", output="nowozin")(REAL, FAKE), expected)


@pytest.mark.parametrize("function", [discriminator_loss, generator_loss])
def test_all_after_the_loss_is_by_keyword(function: Any) -> None:
    parameters = list(inspect.signature(function).parameters.values())
    place = [each.name for each in parameters].index("loss")
    assert all(each.kind is each.POSITIONAL_OR_KEYWORD for each in parameters[: place + 1])
    assert all(each.kind is each.KEYWORD_ONLY for each in parameters[place + 1 :])
    with pytest.raises(TypeError, match="positional arguments"):
        function(*[REAL] * place, "kl", "log_ratio")
    module = {"discriminator_loss": DiscriminatorLoss, "generator_loss": GeneratorLoss}
    with pytest.raises(TypeError, match="positional arguments"):
        module[function.__name__]("hinge", "gan")


# --- slips ---


@pytest.mark.parametrize(
    "name", ["ragan", "dcgan", "cgan", "sngan", "r3gan", "WGAN", "began", "infogan", "dragan"]
)
def test_another_method_is_not_answered_by_gan(name: Any) -> None:
    for refused in (
        lambda: discriminator_loss(REAL, FAKE, name),
        lambda: generator_loss(FAKE, name),
        lambda: generator_loss(FAKE, divergence=name),
    ):
        with pytest.raises(ValueError, match="is not known; known") as error:
            refused()
        assert "Did you mean" not in str(error.value)


@pytest.mark.parametrize(
    ("slip", "meant"),
    [
        ("wgann", "'wgan', another word for 'wasserstein'"),
        ("lsgann", "'lsgan', another word for 'least_squares'"),
        ("vanila", "'vanilla', another word for 'gan'"),
        ("hinge_loss", "'hinge'"),
        ("wasserstien", "'wasserstein'"),
        ("gann", "'gan'"),
    ],
)
def test_a_slip_is_answered(slip: Any, meant: str) -> None:
    with pytest.raises(ValueError, match=rf"Did you mean {meant}\?$"):
        discriminator_loss(REAL, FAKE, slip)


def test_a_divergence_given_as_a_generators_loss() -> None:
    for name in ("gan", "kl", "js"):
        with pytest.raises(ValueError, match=f"expected divergence='{name}' and, as loss, 'non_s"):
            generator_loss(FAKE, name)  # type: ignore[call-overload]
    with pytest.raises(ValueError, match=r"'saturating' is what a generator minimises: .* 'gan' "):
        discriminator_loss(REAL, FAKE, "saturating")  # type: ignore[call-overload]


def checked(code: str, folder: Path) -> set[int]:
    """The lines in which mypy --strict finds errors. It need not look into torch for that."""
    path = folder / "snippet.py"
    path.write_text(code, encoding="utf-8")
    config = folder / "mypy.ini"
    config.write_text(
        "[mypy]\nstrict = True\n[mypy-torch.*]\nfollow_imports = skip\n", encoding="utf-8"
    )
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--config-file", str(config), "--cache-dir",
         str(folder / "cache"), str(path)],
        cwd=Path(kernels.__file__).parents[1], capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode in (0, 1), done.stderr
    found = re.findall(rf"{re.escape(path.name)}:(\d+): error: ", done.stdout)
    return {int(line) for line in found}


RIGHT = """
import torch
from kernels import DiscriminatorLoss, GeneratorLoss, discriminator_loss, generator_loss, use_impl
x = torch.zeros(3)
discriminator_loss(x, x).backward()
discriminator_loss(x, x, "wgan", reduction="sum").backward()
loss, statistics = discriminator_loss(x, x, "kl", output="nowozin", return_statistics=True)
terms = discriminator_loss(x, x, reduction="none")
generator_loss(x, "ns", divergence="js", output="f_gan", impl="torch").backward()
DiscriminatorLoss("hinge")
GeneratorLoss("bgan", divergence="kl")
use_impl("triton")
"""
WRONG = """
discriminator_loss(x, x, "hing")
discriminator_loss(x, x, "ns")
discriminator_loss(x, x, output="nowosin")
discriminator_loss(x, x, reduction="average")
discriminator_loss(x, x, impl="cuda")
discriminator_loss(x, x, "kl", "log_ratio")
generator_loss(x, "gan")
generator_loss(x, divergence="hing")
generator_loss(x, reduction="average")
DiscriminatorLoss("hing")
GeneratorLoss("kl")
use_impl("cuda")
"""


def test_a_type_checker_refuses_a_slip(tmp_path: Path) -> None:
    pytest.importorskip("mypy")
    right, wrong = RIGHT.strip(), WRONG.strip()
    first = right.count("\n") + 2
    lines = range(first, first + wrong.count("\n") + 1)
    assert checked(f"{right}\n{wrong}\n", tmp_path) == set(lines)
