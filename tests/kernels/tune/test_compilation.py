import os
import time

import pytest

from kernels.conv_transpose.tiles import TileConfig
from kernels.tune.compilation import Code, compile_all, compiled_code, key_of
from kernels.tune.plan import Problem
from tests.kernels.tune.fakes import compile_fake

pytest.importorskip("triton")
CONFIGS = [TileConfig(64, 64, 32, 4, stages) for stages in range(1, 6)]
KEYS = [key_of(Problem("dgrad", "bf16", 8, 4, 4, 16), config) for config in CONFIGS]


def test_a_compiler_that_ends_its_process_condemns_one_candidate() -> None:
    os.environ.setdefault("TRITON_INTERPRET", "1")
    before = os.environ["TRITON_INTERPRET"]
    found = compile_all(KEYS[1:4], 90, "cpu", 1, one=compile_fake)  # of three stages it aborts
    assert found == {
        KEYS[1]: Code(20, 0, 0),
        KEYS[2]: Code(0, 0, 0, "the compiler ended its process"),
        KEYS[3]: Code(40, 0, 0),
    }
    assert os.environ["TRITON_INTERPRET"] == before


def test_a_deadline_leaves_candidates_out() -> None:
    start = time.monotonic()
    # That of five stages takes for ever.
    found = compile_all(KEYS[4:], 90, "cpu", 1, start + 5, one=compile_fake)
    assert found == {}
    assert time.monotonic() - start < 60
    assert compile_all([], 90, "cpu") == {}


def test_a_problems_side_is_part_of_its_code_and_its_batch_is_not() -> None:
    problem = Problem("dgrad", "bf16", 8, 4, 4, 16)
    key = key_of(problem, CONFIGS[0])
    assert key == key_of(problem._replace(batch=32), CONFIGS[0])
    for other in (problem._replace(side=8), problem._replace(epilogue="statistics")):
        assert key != key_of(other, CONFIGS[0])


class Kernel:
    """What a compilation gives, as far as it is looked into."""

    def __init__(self, usage: str, shared: int) -> None:
        self.asm = {"cubin": usage}
        self.metadata = type("Metadata", (), {"shared": shared})


def test_what_is_put_aside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kernels.tune.compilation._resource_usage", lambda cubin: cubin)
    clean = Kernel(" REG:100 STACK:0 SHARED:0", 1000)
    assert compiled_code([clean, clean], 90) == Code(100, 0, 1000)
    spills = Kernel(" REG:255 STACK:8", 10)
    found = compiled_code([clean, spills], 90)
    assert found == Code(255, 8, 1000, "8 bytes of spilled registers")
    large = Kernel(" REG:10 STACK:0", 200 * 1024)
    assert compiled_code([large], 90).defect is None
    assert compiled_code([large], 80).defect == "204800 bytes of shared memory of 166912"
