"""Integers of every kind, a generator in place of a seed, and names that mypy knows."""

import inspect
import sys
from pathlib import Path
from subprocess import run
from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import kernels
from kernels import (
    Samples,
    log_prob,
    sample_bernoulli,
    sample_categorical,
    weighted_log_prob,
)
from kernels.dispatch import IMPLEMENTATIONS, Impl
from kernels.policy_gradient import stream
from tests.kernels.policy_gradient import reference

LOGITS = torch.randn(2, 30, 5, generator=torch.Generator().manual_seed(0))


class Indexed:
    """What `operator.index` takes and is no number."""

    def __init__(self, value: int) -> None:
        self.value = value

    def __index__(self) -> int:
        return self.value


def equal(found: Samples, wanted: Samples) -> bool:
    return torch.equal(found.symbols, wanted.symbols) and torch.equal(
        found.log_probs, wanted.log_probs
    )


INTEGERS = [
    np.int8,
    np.int64,
    np.uint64,
    np.array,
    Indexed,
    torch.tensor,
    lambda n: torch.tensor([n], dtype=torch.uint8),
    lambda n: torch.tensor(n, dtype=torch.int16),
    lambda n: torch.tensor(n, dtype=torch.uint64),
]


@pytest.mark.parametrize("impl", reference.IMPLEMENTATIONS)
@pytest.mark.parametrize("integer", INTEGERS)
def test_integers_of_every_kind(impl: str, integer: object) -> None:
    wanted = sample_categorical(LOGITS, 3, 7, 2, dim=1, impl=impl)
    found = sample_categorical(
        LOGITS, integer(3), integer(7), integer(2), dim=integer(1), impl=impl
    )
    assert equal(found, wanted)
    wanted = sample_bernoulli(LOGITS, 3, 7, 2, impl=impl)
    assert equal(sample_bernoulli(LOGITS, integer(3), integer(7), integer(2), impl=impl), wanted)
    symbols = torch.ones(2, 2, 5, dtype=torch.int64)
    found = log_prob(LOGITS, symbols, dim=integer(1), impl=impl)
    assert torch.equal(found, log_prob(LOGITS, symbols, dim=1, impl=impl))
    found = weighted_log_prob(LOGITS, symbols, torch.ones(2, 2), dim=integer(1), impl=impl)
    assert torch.equal(
        found, weighted_log_prob(LOGITS, symbols, torch.ones(2, 2), dim=1, impl=impl)
    )


@settings(max_examples=30, deadline=None)
@given(st.integers(-(2**63), 2**64 - 1), st.integers(0, 2**32 - 1))
def test_seeds_are_their_64_bits_whatever_holds_them(seed: int, offset: int) -> None:
    wanted = sample_bernoulli(LOGITS[:, :4], 4, seed, offset)
    signed = seed - 2**64 if seed >= 2**63 else seed
    unsigned = signed % 2**64
    for same in (
        np.int64(signed),
        np.uint64(unsigned),
        torch.tensor(signed),
        torch.tensor(unsigned, dtype=torch.uint64),
        unsigned,
    ):
        assert equal(sample_bernoulli(LOGITS[:, :4], 4, same, np.uint32(offset)), wanted)


class Count(int):
    """An int by another name."""


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        ((True, 0), {}, TypeError, "samples is a bool: expected an integer"),
        ((np.True_, 0), {}, TypeError, "samples is a bool: expected an integer"),
        ((torch.tensor(True), 0), {}, TypeError, "samples has dtype torch.bool: expected an int"),
        ((torch.tensor(2.0), 0), {}, TypeError, "samples has dtype torch.float32: expected an int"),
        ((torch.tensor([1, 2]), 0), {}, TypeError, "samples is a Tensor: expected an integer"),
        ((np.float64(2), 0), {}, TypeError, "samples is a float64: expected an integer"),
        (("2", 0), {}, TypeError, "samples is a str: expected an integer"),
        ((-1, 0), {}, ValueError, "samples=-1: expected at least 1"),
        ((np.int64(0), 0), {}, ValueError, "samples=0: expected at least 1"),
        ((2**31, 0), {}, ValueError, "samples=2147483648: expected at most 2147483647"),
        ((2, np.True_), {}, TypeError, "seed is a bool: expected an integer or a tensor of one"),
        ((2, torch.tensor(True)), {}, TypeError, "seed has dtype torch.bool: expected an integer"),
        ((2, np.float32(1)), {}, TypeError, "seed is a float32: expected an integer"),
        ((2, Indexed(2**64)), {}, ValueError, "seed=18446744073709551616: expected -92233720368"),
        ((2, 0, np.int64(-1)), {}, ValueError, "offset=-1: expected 0 ≤ offset < 4294967296"),
        ((2, 0, np.uint64(2**32)), {}, ValueError, "offset=4294967296: expected 0 ≤ offset"),
        ((2, 0), {"dim": True}, TypeError, "dim is a bool: expected an integer"),
        ((2, 0), {"dim": 1.0}, TypeError, "dim is a float: expected an integer"),
        ((2, 0), {"dim": np.int64(0)}, ValueError, "dim=0: expected a dimension of logits"),
        ((2,), {}, TypeError, "neither seed nor generator is given: expected exactly one"),
        ((2, None), {}, TypeError, "neither seed nor generator is given: expected exactly one"),
        (
            (2, 0),
            {"generator": torch.Generator()},
            TypeError,
            "seed and generator are both given: expected exactly one",
        ),
        ((2,), {"generator": 3}, TypeError, "generator is a int: expected a torch.Generator"),
        ((2, torch.Generator()), {}, TypeError, "seed is a Generator: expected an integer or a"),
    ],
)
def test_what_is_refused(
    arguments: tuple[object, ...],
    options: dict[str, object],
    error: type[Exception],
    message: str,
) -> None:
    with pytest.raises(error, match=message):
        sample_categorical(LOGITS, *arguments, **options)
    if "dim" not in options:
        with pytest.raises(error, match=message):
            sample_bernoulli(LOGITS, *arguments, **options)


def test_an_int_of_a_subclass_is_one() -> None:
    assert equal(sample_bernoulli(LOGITS, Count(3), Count(4)), sample_bernoulli(LOGITS, 3, 4))


# --- generator -----------------------------------------------------------------------------------


def new(seed: int = 3) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("impl", reference.IMPLEMENTATIONS)
@pytest.mark.parametrize("draw", [sample_categorical, sample_bernoulli])
def test_a_generator_moves_on_and_is_reproducible(draw: object, impl: str) -> None:
    generator = new()
    first, second = (draw(LOGITS, 4, generator=generator, impl=impl) for _ in range(2))
    # Of bits that are equally likely half agree by chance, of five symbols fewer.
    assert (first.symbols == second.symbols).double().mean() < 0.75
    generator.manual_seed(3)
    assert equal(draw(LOGITS, 4, generator=generator, impl=impl), first)
    state = generator.get_state()
    again = draw(LOGITS, 4, generator=generator, impl=impl)
    assert equal(again, second)
    generator.set_state(state)
    assert equal(draw(LOGITS, 4, generator=generator, impl=impl), second)
    assert not equal(draw(LOGITS, 4, generator=new(4), impl=impl), first)
    assert not equal(draw(LOGITS, 4, generator=new(), offset=1, impl=impl), first)


def test_a_generator_draws_one_seed_of_64_bits_and_touches_no_other() -> None:
    generator, beside = new(), new()
    before = torch.get_rng_state()
    found = sample_categorical(LOGITS, 4, generator=generator)
    seed = int(torch.randint(-(2**63), 2**63 - 1, (), generator=beside))
    assert equal(found, sample_categorical(LOGITS, 4, seed))
    assert torch.equal(generator.get_state(), beside.get_state())
    assert torch.equal(torch.get_rng_state(), before)


def test_what_is_refused_moves_no_generator() -> None:
    generator = new()
    before = generator.get_state()
    for call in (
        lambda: sample_categorical(LOGITS, 0, generator=generator),
        lambda: sample_categorical(LOGITS, 2, 3, generator=generator),
        lambda: sample_categorical(LOGITS, 2, generator=generator, dim=0),
        lambda: sample_bernoulli(LOGITS, 2, generator=generator, offset=-1),
        lambda: sample_bernoulli(LOGITS, 2, generator=generator, impl="cuda"),
    ):
        with pytest.raises((TypeError, ValueError), match=r"expected|unknown implementation"):
            call()
    assert torch.equal(generator.get_state(), before)


class Elsewhere(torch.Generator):
    """A generator that says it is on a GPU, which this machine need not have."""

    device = torch.device("cuda:1")  # type: ignore[assignment]


def test_a_generator_elsewhere() -> None:
    message = "generator is on cuda:1 and logits are on cpu: expected it on the CPU or there"
    with pytest.raises(ValueError, match=message):
        stream.draw_seed(Elsewhere(), torch.device("cpu"))


def test_seeds_on_the_cpu_are_read_for_logits_elsewhere() -> None:
    drawn = stream.check_stream(torch.tensor(-7), torch.tensor(2**32 + 5), torch.device("meta"))
    assert drawn == (2**64 - 7, 5)
    assert isinstance(stream.draw_seed(new(), torch.device("meta")), int)


# --- names ---------------------------------------------------------------------------------------

PROGRAM = """\
import torch
from kernels import log_prob, sample_bernoulli, sample_categorical, weighted_log_prob

x = torch.zeros(2, 3)
sample_bernoulli(x, 4, 0, impl="torch")
sample_bernoulli(x, 4, generator=torch.Generator())
sample_categorical(x, 4, 0, 1, dim=1, impl="triton")
log_prob(x, x, impl="auto")
"""
WRONG = (
    'sample_bernoulli(x, 4, 0, impl="tritan")',
    'sample_categorical(x, 4, 0, impl="cuda")',
    'log_prob(x, x, impl="Torch")',
    'weighted_log_prob(x, x, x, impl="")',
    "sample_bernoulli(x, 4.0, 0)",
    'sample_categorical(x, 4, 0, dim="last")',
    "sample_categorical(x, 4, 0, 0, 1)",
)


def test_mypy_refuses_names_that_do_not_exist(tmp_path: Path) -> None:
    pytest.importorskip("mypy")
    program, config = tmp_path / "program.py", tmp_path / "mypy.ini"
    program.write_text(PROGRAM + "\n".join(WRONG) + "\n", encoding="utf-8")
    # It need not look into torch for that, which takes half a minute.
    config.write_text(
        "[mypy]\nstrict = True\n[mypy-torch.*]\nfollow_imports = skip\n"
        "[mypy-triton.*]\nfollow_imports = skip\n",
        encoding="utf-8",
    )
    root = Path(kernels.__file__).parents[1]
    options = ["--config-file", str(config), "--cache-dir", str(tmp_path / "cache")]
    found = run(
        [sys.executable, "-m", "mypy", *options, "--follow-imports=silent", str(program)],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )
    lines = {
        int(line.split(":")[1])
        for line in found.stdout.splitlines()
        if "program.py:" in line and ": error:" in line
    }
    first = PROGRAM.count("\n") + 1
    assert lines == set(range(first, first + len(WRONG))), found.stdout + found.stderr


def test_names_at_run_time_are_those_of_the_type() -> None:
    assert get_args(Impl) == IMPLEMENTATIONS == ("auto", "triton", "torch")


def test_what_follows_the_offset_goes_by_keyword() -> None:
    positional = {
        sample_categorical: ["logits", "samples", "seed", "offset"],
        sample_bernoulli: ["logits", "samples", "seed", "offset"],
        log_prob: ["logits", "symbols"],
        weighted_log_prob: ["logits", "symbols", "weights"],
    }
    for function, names in positional.items():
        parameters = inspect.signature(function).parameters.values()
        assert [p.name for p in parameters if p.kind is not p.KEYWORD_ONLY] == names
