import functools
import time

import pytest

from kernels.conv_transpose.tiles import TileConfig
from kernels.tune.plan import Problem
from kernels.tune.worker import Outcome, outcomes
from tests.kernels.tune.fakes import FakeBench, broken, fake_times

CONFIGS = tuple(TileConfig(64, 64, 32, 4, stages) for stages in range(1, 6))
ONE, TWO, THREE = (Problem("dgrad", "bf16", 8, side, 4, 2) for side in (1, 2, 3))


def test_a_sticky_error_condemns_one_candidate_alone() -> None:
    bad = {
        CONFIGS[0]: "wrong: relative error",
        CONFIGS[1]: "sticky",
        CONFIGS[2]: "exit",
        CONFIGS[3]: "hang",
    }
    make = functools.partial(FakeBench, bad)
    found = list(outcomes(make, [(ONE, CONFIGS), (TWO, CONFIGS[3:])], patience=2.0))
    assert [outcome[:2] for outcome in found] == [
        *((ONE, config) for config in CONFIGS),
        *((TWO, config) for config in CONFIGS[3:]),
    ]
    defects = [outcome.defect for outcome in found]
    assert defects[0] == "wrong: relative error"
    assert defects[1] == (
        "RuntimeError: CUDA error: an illegal memory access was encountered; "
        "the process ended with it"
    )
    assert defects[2] == "the process ended with it"
    assert defects[3] == defects[5] == "no answer for 2 s"
    assert defects[4] is None
    assert found[4].times == found[6].times == fake_times(CONFIGS[4])


def test_a_problem_without_operands_condemns_its_own_candidates() -> None:
    make = functools.partial(FakeBench, operands=(TWO,))
    jobs = [(ONE, CONFIGS[:1]), (TWO, CONFIGS[:2]), (THREE, CONFIGS[:1])]
    ended = "the process ended with it"
    assert list(outcomes(make, jobs)) == [
        Outcome(ONE, CONFIGS[0], None, fake_times(CONFIGS[0])),
        Outcome(TWO, CONFIGS[0], ended),
        Outcome(TWO, CONFIGS[1], ended),
        Outcome(THREE, CONFIGS[0], None, fake_times(CONFIGS[0])),
    ]


def test_a_worker_that_cannot_begin_is_not_started_for_ever() -> None:
    with pytest.raises(RuntimeError, match="before it measured anything"):
        list(outcomes(broken, [(ONE, CONFIGS)]))
    assert list(outcomes(broken, [(ONE, ())])) == []


def test_a_deadline_condemns_nothing() -> None:
    make = functools.partial(FakeBench, {CONFIGS[1]: "hang"})
    found = list(outcomes(make, [(ONE, CONFIGS)], time.monotonic() + 8, patience=100))
    assert [outcome.config for outcome in found] == [CONFIGS[0]]
