import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import kernels
from kernels import tune
from kernels.conv_transpose import tiles
from kernels.conv_transpose.tiles import Measurement, TileConfig, TuningEntry
from kernels.tune.__main__ import main

ROOT = Path(kernels.__file__).parents[1]
ENTRY = TuningEntry("dgrad", "bf16", 8, 4, 100, TileConfig(64, 16, 16, 4, 2), False, None, None)


@pytest.fixture(autouse=True)
def _own_tables(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.setenv("FUSEDGAN_TUNING", str(tmp_path / "tuning"))
    tiles.forget_tables()
    yield
    tiles.forget_tables()


@pytest.mark.parametrize("architecture", [80, 90, 100])
def test_shipped_tables_are_what_is_proposed(architecture: int) -> None:
    """Until a GPU has measured them: then this compares the shapes alone."""
    shipped = tiles.read_table(tiles.shipped_path(architecture))
    proposed = tune.propose(architecture)
    assert {row[:4] for row in proposed} <= {row[:4] for row in shipped}
    unmeasured = {row[:6] for row in shipped if not row.verified}
    assert unmeasured <= {row[:6] for row in proposed}
    for row in shipped:
        assert row.verified == (row.measured_ratio is not None)


def test_a_table_is_read_as_it_was_written(tmp_path: Path) -> None:
    rows = [ENTRY, ENTRY._replace(positions=7, verified=True, measured_ratio=1.5)]
    path = tiles.user_path(90)
    tune.write_table(path, 90, "a GPU", rows)
    assert tiles.read_table(path) == tuple(sorted(rows, key=lambda row: row[:5]))
    described = json.loads(path.read_text())
    assert (described["architecture"], described["measured_on"]) == ("sm_90", "a GPU")
    assert [each.name for each in path.parent.iterdir()] == [path.name]
    assert len(path.read_text().splitlines()) == 4


def test_an_entry_says_what_was_timed_and_on_what() -> None:
    timed = Measurement("a GPU", "torch 2", "replays", 64, 4, 12.5, 25.0)
    wins = ENTRY._replace(verified=True, measured_ratio=2.0, measurement=timed)
    of_statistics = wins._replace(epilogue="statistics", config=TileConfig(128, 16, 16, 8, 3))
    path = tiles.user_path(90)
    tune.write_table(path, 90, "a GPU", [of_statistics, wins])
    assert tiles.read_table(path) == (wins, of_statistics)
    found = [json.loads(line.rstrip(",")) for line in lines(path)]
    assert [row["measurement"] for row in found] == [timed._asdict()] * 2
    assert [row["epilogue"] for row in found] == ["plain", "statistics"]
    assert wins.key != of_statistics.key


def test_each_epilogue_is_asked_for_by_itself() -> None:
    wins = ENTRY._replace(verified=True, measured_ratio=2.0)
    config = TileConfig(128, 16, 16, 8, 3)
    loses = wins._replace(epilogue="statistics", config=config, measured_ratio=0.9)
    tune.write_table(tiles.user_path(90), 90, "a GPU", [wins, loses])
    call = ("dgrad", "bf16", 8, 4, 150, 90)
    assert tiles.why_torch(*call) is None
    reason = tiles.why_torch(*call, "statistics")
    assert reason is not None
    assert reason.startswith("measured at 0.90 of torch's speed: dgrad with statistics in bf16")
    # Without entries of its own a launch takes the plain product's.
    assert tiles.config(*call) == tiles.config(*call, "folded") == ENTRY.config
    assert tiles.config(*call, "statistics") == config


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines()[1:-1]


def test_the_users_table_comes_first() -> None:
    tune.write_table(tiles.user_path(90), 90, "a GPU", [ENTRY])
    assert tiles.table(90) == (ENTRY,)
    assert len(tiles.table(80)) > 1
    assert tiles.table(75) == ()


def test_an_entry_holds_from_its_positions_on() -> None:
    more = ENTRY._replace(positions=200, config=TileConfig(128, 16, 16, 4, 2))
    tune.write_table(tiles.user_path(90), 90, None, [more, ENTRY])
    call = ("dgrad", "bf16", 8, 4)
    for positions, expected in ((50, ENTRY), (100, ENTRY), (199, ENTRY), (200, more)):
        assert tiles.config(*call, positions, 90) == expected.config
    by_rule = tiles.rule("dgrad", "bf16", 9, 4, 100, 90)
    assert tiles.config("dgrad", "bf16", 9, 4, 100, 90) == by_rule


def test_verified_and_faster_is_what_auto_asks_for() -> None:
    call = ("dgrad", "bf16", 8, 4, 150, 90)
    for row, reason in (
        (ENTRY, "no launch configuration of dgrad in bf16 for 8 and 4 channels on sm_90"),
        (ENTRY._replace(verified=True, measured_ratio=0.5), "measured at 0.50 of torch's speed"),
        (ENTRY._replace(verified=True, measured_ratio=1.01), None),
    ):
        tune.write_table(tiles.user_path(90), 90, "a GPU", [row])
        tiles.forget_tables()
        found = tiles.why_torch(*call)
        assert found is None if reason is None else reason in found


def test_an_epilogue_has_entries_of_its_own() -> None:
    wins = ENTRY._replace(verified=True, measured_ratio=1.5)
    loses = wins._replace(
        measured_ratio=0.5, epilogue="statistics", config=wins.config._replace(stages=3)
    )
    tune.write_table(tiles.user_path(90), 90, "a GPU", [wins, loses])
    call = ("dgrad", "bf16", 8, 4, 150, 90)
    assert tiles.why_torch(*call) is None
    assert "0.50 of torch's speed: dgrad with statistics" in tiles.why_torch(*call, "statistics")
    assert tiles.config(*call, "statistics") == loses.config
    assert tiles.config(*call, "folded") == wins.config  # for want of one of its own
    assert tiles.won(90) == "dgrad 1 of 1, dgrad statistics 0 of 1"
    assert tiles.won(75) == "nothing measured"


def test_a_normalisation_is_folded_only_where_that_was_measured_to_win() -> None:
    call = ("dgrad", "bf16", 8, 4, 150, 90)
    for row, expected in (
        (ENTRY._replace(verified=True, measured_ratio=2.0), False),  # of another epilogue
        (ENTRY._replace(epilogue="folded"), False),
        (ENTRY._replace(epilogue="folded", verified=True, measured_ratio=0.99), False),
        (ENTRY._replace(epilogue="folded", verified=True, measured_ratio=1.0), True),
    ):
        tune.write_table(tiles.user_path(90), 90, "a GPU", [row])
        tiles.forget_tables()
        assert tiles.folds(*call) == expected
    assert not tiles.folds("dgrad", "bf16", 8, 4, 99, 90)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not a table"),
        ('{"rows": []}', "is not a table .*entries"),
        ("[]", "is not a table"),
        ("[" * 100_000, "is not a table .*RecursionError"),
        ('{"entries": ["x"]}', "is not a table"),
        ("9" * 5000, "is not a table .*Exceeds the limit"),
        ('{"entries": [{"op": "dgrad"}]}', "is not a table"),
        ('{"entries": [{"config": {}, "measurement": 3}]}', "is not a table"),
        (None, "op='product', precision='bf16'; expected one of dgrad, fprop, wgrad"),
        ("", "epilogue='tanh'; expected one of plain, statistics, folded"),
    ],
)
def test_what_is_no_table(text: str | None, message: str, tmp_path: Path) -> None:
    path = tmp_path / "sm_90.json"
    if text == "":
        tune.write_table(path, 90, None, [ENTRY._replace(epilogue="tanh")])
    elif text is None:
        tune.write_table(path, 90, None, [ENTRY._replace(op="product")])
    else:
        path.write_text(text)
    with pytest.raises(ValueError, match=message) as error:
        tiles.read_table(path)
    assert str(path) in str(error.value)


@given(
    op=st.sampled_from(tiles.OPERATIONS),
    precision=st.sampled_from(sorted(tiles.PRECISIONS.values())),
    b=st.integers(1, 2048),
    a=st.integers(1, 2048),
    positions=st.integers(0, 2**31),
    architecture=st.sampled_from([75, 80, 86, 90, 100, 120]),
)
def test_the_rule_answers_for_every_shape(
    op: str, precision: str, b: int, a: int, positions: int, architecture: int
) -> None:
    config = tiles.rule(op, precision, b, a, positions, architecture)
    for block in config[:3]:
        assert 16 <= block <= 256
        assert block & (block - 1) == 0
    assert config.block_m * config.block_n <= 128 * 32 * config.warps  # registers a thread
    light = tiles.lighter(config, precision)
    assert light.block_m * light.block_n == min(config.block_m * config.block_n, 128 * 128)
    if op == "dgrad" and a <= tiles.PACKED_CHANNELS:
        assert config.block_n >= 4 * a  # all phases in one tile
    assert config.nested or config.warps == 4
    bytes_each = 8 if precision == "fp64" else 4 if precision in ("fp32", "tf32") else 2
    stage = (config.block_m + config.block_n) * config.block_k * bytes_each
    room = 160 if architecture in tiles.LARGE_SHARED_MEMORY else 96
    assert stage * config.stages <= room * 1024


def test_tf32_as_torchs_convolutions() -> None:
    convolutions = torch.backends.cudnn.conv
    before = convolutions.fp32_precision
    try:
        convolutions.fp32_precision = "tf32"
        assert tiles.precision_of(torch.float32, "cuda") == ("tf32", "tf32")
        assert tiles.precision_of(torch.float32, "cpu") == ("fp32", "ieee")
        assert tiles.precision_of(torch.bfloat16, "cuda") == ("bf16", "ieee")
        convolutions.fp32_precision = "ieee"
        assert tiles.precision_of(torch.float32, "cuda") == ("fp32", "ieee")
    finally:
        convolutions.fp32_precision = before


def test_the_choice_is_made_while_tracing(monkeypatch: pytest.MonkeyPatch) -> None:
    """In one graph: neither a file nor the device is asked for in the compiled function."""
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    tiles._architecture_of.cache_clear()
    wins = ENTRY._replace(positions=160, verified=True, measured_ratio=2.0)
    tune.write_table(tiles.user_path(90), 90, "a GPU", [wins])

    def choose(x: torch.Tensor) -> torch.Tensor:
        precision, _ = tiles.precision_of(x.dtype, "cuda")
        architecture = tiles.architecture_of(torch.device("cuda", 0))
        loss = tiles.why_torch("dgrad", precision, 8, 4, x.shape[0] * 16, architecture)
        return x + 1 if loss is None else x - 1

    torch.compiler.reset()
    compiled = torch.compile(choose, fullgraph=True, backend="eager", dynamic=True)
    for batch, expected in ((10, 1), (9, -1), (11, 1)):
        assert (compiled(torch.zeros(batch, 1, dtype=torch.bfloat16)) == expected).all()
    tiles._architecture_of.cache_clear()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU to measure on")
def test_tuning_without_a_gpu_says_so(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main([]) == 1
    assert "PyTorch sees none here" in capsys.readouterr().err
    assert not (tmp_path / "tuning").exists()
    with pytest.raises(SystemExit):
        main(["--layer", "512x256"])
    assert "expected channels of the small and of the large image" in capsys.readouterr().err


@pytest.mark.gpu
def test_every_configuration_of_the_table_is_right() -> None:
    architecture = tiles.architecture_of(torch.device("cuda", 0))
    defects = []
    for row in tiles.read_table(tiles.shipped_path(architecture)):
        side = next(side for b, a, side in tune.LAYERS if (b, a) == (row.b, row.a))
        batch = max(1, min(row.positions, 8192) // side**2)
        problem = tune.Problem(*row[:4], side, batch, row.epilogue)
        with tune.fp32_precision("tf32" if row.precision == "tf32" else "ieee"):
            defect = tune.Case(problem, torch.device("cuda", 0)).defect(row.config)
        if defect is not None:
            defects.append((problem, row.config, defect))
    assert not defects


# An interpreted kernel has neither specialisation nor machine code: a process without the
# interpreter, in which every launch is bound as the launcher binds it, and none is run.
COMPILATIONS = textwrap.dedent(
    """
    import json, torch
    from triton.backends.compiler import GPUTarget
    from triton.compiler import make_backend
    from triton.runtime.jit import create_function_from_signature
    from kernels.conv_transpose.launch import boxes, products
    from kernels.conv_transpose.tiles import TileConfig

    backend = make_backend(GPUTarget("cuda", 90, 32))
    keys = {}

    class Bound:
        def __init__(self, kernel):
            self.name = kernel.fn.__name__
            self.bind = create_function_from_signature(kernel.signature, kernel.params, backend)

        def __getitem__(self, grid):
            return self

        def __call__(self, *args, **kwargs):
            _, specialisation, options = self.bind(*args, debug=False, **kwargs)
            keys.setdefault(self.name, set()).add((str(specialisation), str(options)))

    for module in (products, boxes):
        for name in [name for name in dir(module) if name.endswith("_kernel")]:
            setattr(module, name, Bound(getattr(module, name)))
    config = TileConfig(64, 64, 16, 4, 2)
    products._processors = lambda device: 132

    def image(*shape):
        return torch.empty(shape, memory_format=torch.channels_last)

    for n, h, w in [(1, 1, 1), (3, 5, 7), (16, 16, 16), (32, 1, 2), (1, 16, 3), (200, 3, 3)]:
        for a in (32, 3):
            y, x, weight = image(n, 32, h, w), image(n, a, 2 * h, 2 * w), image(32, a, 4, 4)
            products.dgrad(y, weight, statistics=True, config=config)
            products.fprop(x, weight, statistics=True, config=config)
            products.wgrad(x, y, config=config)
    config = TileConfig(64, 64, 64, 4, 3, tma=True)
    for n, h, w in [(1, 8, 8), (64, 8, 8), (3, 16, 8), (7, 32, 8)]:  # one box for all
        y, x = (each.bfloat16() for each in (image(n, 32, h, w), image(n, 64, 2 * h, 2 * w)))
        weight = image(32, 64, 4, 4).bfloat16()
        products.dgrad(y, weight, statistics=True, config=config)
        products.fprop(x, weight, statistics=True, config=config)
        products.wgrad(x, y, config=config)
    print(json.dumps({name: len(found) for name, found in keys.items()}))
    """
)


def without_interpreter(code: str) -> str:
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**environment, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_one_compilation_serves_every_batch_height_and_width() -> None:
    pytest.importorskip("triton")
    counts = json.loads(without_interpreter(COMPILATIONS))
    assert counts == {
        "dgrad_kernel": 1,
        "dgrad_packed_kernel": 1,
        "fprop_kernel": 2,  # 32 channels of x and 3
        "wgrad_kernel": 2,
        "sum_splits_kernel": 2,  # fp32 and bf16
        "combine_statistics_kernel": 3,  # of 32, 64 and 3 channels
        "dgrad_boxes_kernel": 1,
        "fprop_boxes_kernel": 1,
        "wgrad_boxes_kernel": 4,  # boxes of whole images or of parts; a sum as one or as several
    }


OFFLINE = textwrap.dedent(
    """
    import sys
    from benchmarks.offline import compile_case
    from benchmarks.resource_cases.conv_transpose import cases
    from benchmarks.resources import defects

    wanted = [
        ("dgrad bf16 512<>256 128x128x64 w8 s3 prologue statistics", 90),
        ("dgrad bf16 64<>3 128x16x64 w4 s3 bias tanh", 90),
        ("fprop bf16 128<>64 128x128x64 w8 s3 prologue statistics", 80),
        ("dgrad tf32 128<>64 64x64x32 flat w4 s2 statistics", 100),
        ("wgrad fp16 256<>128 256x128x64 w8 s3 prologue statistics", 100),
        ("dgrad fp32 64<>3 64x16x16 w8 s1 prologue statistics", 100),
    ]
    found = {case.name: case for case in cases()}
    for name, architecture in wanted:
        case = found[name]
        assert architecture in case.architectures, (name, case.architectures)
        for defect in defects(case, compile_case(case, architecture), architecture):
            print(f"{name} on sm_{architecture}: {defect}")
    """
)


@pytest.mark.slow
def test_a_sample_of_the_tables_compiles_clean() -> None:
    """All of them: `python -m benchmarks.resources --only conv_transpose --check`."""
    pytest.importorskip("triton")
    assert without_interpreter(OFFLINE) == ""
