"""CUDA graphs of rounds: on a GPU against rounds that are launched one by one, bit for bit.

And, where there is none, the order in which `CudaGraphs` calls what PyTorch has for them.
"""

import inspect
import io
import itertools
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from gan.config import Config
from gan.training.round_graph import WARM_UP, CudaGraphs, RoundGraphs
from gan.training.trainer import Trainer
from tests.gan.playing import CPU, advance, assert_same_state
from tests.gan.training.test_round_graph import GAMES

# All that sum in one order on a GPU: looking labels up in a table does not.
ON_A_GPU = [
    "mlp",
    "dcgan",
    "dcgan, lazy R1",
    "WGAN-GP",
    "numbers: weight clipping",
    "numbers: spectral normalisation",
    "numbers: decay with adamw",
    "symbols: importance on bits",
    "symbols: reinforce with a learned baseline",
    "symbols: straight through on bits, clipped",
    "labels: straight through",
]


@pytest.fixture
def on_cuda(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Trainers of `GAMES` play on the GPU, and sum in one order."""
    original = Trainer.__init__

    def init(self: Trainer, config: Config, data: Any, *, device: torch.device) -> None:
        original(self, config, data, device=torch.device("cuda"))

    monkeypatch.setattr(Trainer, "__init__", init)
    with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True):
        yield


def launched_one_by_one(game: str) -> Trainer:
    run = GAMES[game]()
    run._graphs = None
    return run


@pytest.mark.gpu
@pytest.mark.parametrize("resident", [False, True])
@pytest.mark.parametrize("game", ON_A_GPU)
def test_graphs_are_rounds_to_the_bit(
    game: str, resident: bool, on_cuda: None, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("gan.data.batches._fits", lambda *_: resident)
    eager, graphs = launched_one_by_one(game), GAMES[game]()
    for _ in range(20):
        advance(eager)
        advance(graphs)
    assert graphs._graphs is not None
    assert graphs._graphs.given_up is None
    assert graphs._graphs._recordings
    assert_same_state(eager.state_dict(), graphs.state_dict())
    assert eager.rows() == graphs.rows()


@pytest.mark.gpu
@pytest.mark.parametrize("game", ["mlp", "dcgan, lazy R1", "symbols: importance on bits"])
def test_graphs_resume_to_the_bit(game: str, on_cuda: None):
    whole, first, second = GAMES[game](), GAMES[game](), GAMES[game]()
    for run, rounds in ((whole, 30), (first, 17)):
        for _ in range(rounds):
            advance(run)
    content = io.BytesIO()
    torch.save(first.state_dict(), content)
    content.seek(0)
    # Into a trainer that has graphs of another state.
    for _ in range(10):
        advance(second)
    second.load_state_dict(torch.load(content, weights_only=True))
    for _ in range(13):
        advance(second)
    assert second._graphs is not None
    assert second._graphs.given_up is None
    assert_same_state(whole.state_dict(), second.state_dict())


@pytest.mark.gpu
def test_checkpoints_are_the_same_bytes_with_and_without_graphs(on_cuda: None):
    contents = []
    for run in (launched_one_by_one("dcgan, lazy R1"), GAMES["dcgan, lazy R1"]()):
        for _ in range(15):
            advance(run)
        content = io.BytesIO()
        torch.save(run.state_dict(), content)
        contents.append(content.getvalue())
    assert contents[0] == contents[1]


@pytest.mark.gpu
def test_a_round_waits_for_nothing(on_cuda: None):
    run = launched_one_by_one("dcgan, lazy R1")
    for _ in range(5):
        advance(run)
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(2):
            run.advance()
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.gpu
def test_what_cannot_be_captured_is_played_all_the_same(caplog: pytest.LogCaptureFixture):
    device = torch.device("cuda")
    stream = torch.Generator(device).manual_seed(1)
    total = torch.zeros(8, device=device)

    def look_at_it() -> None:
        total.add_(torch.rand(8, generator=stream, device=device))
        float(total.sum())

    graphs = RoundGraphs(CudaGraphs(device))
    for _ in range(WARM_UP + 2):
        graphs.play(0, look_at_it, [stream])
    assert graphs.given_up is not None
    assert "launch by launch" in caplog.text
    twin = torch.Generator(device).manual_seed(1)
    drawn = [torch.rand(8, generator=twin, device=device) for _ in range(WARM_UP + 2)]
    torch.testing.assert_close(total, torch.stack(drawn).sum(0))
    assert torch.equal(stream.get_state(), twin.get_state())


# --- without a GPU -------------------------------------------------------------------------


class Stream:
    """A stream of random numbers, as far as a capture has to do with one."""

    def __init__(self, log: list[str], state: str = "before") -> None:
        self.log, self.state = log, state

    def clone_state(self) -> "Stream":
        return Stream(self.log, self.state)

    def graphsafe_set_state(self, other: "Stream") -> None:
        self.state = other.state


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is asked of `torch.cuda`, in order, without a device."""
    said: list[str] = []

    class Graph:
        def register_generator_state(self, stream: Stream) -> None:
            said.append("register")

        def replay(self) -> None:
            said.append("replay")

    signature = inspect.signature(torch.cuda.graph.__init__)

    @contextmanager
    def capture(*arguments: object, **named: object) -> Iterator[None]:
        bound = signature.bind(None, *arguments, **named).arguments
        assert bound["capture_error_mode"] == "thread_local"
        said.append(f"capture on {bound['stream'].name} in {bound['pool']}")
        try:
            yield
        finally:
            said.append("end of capture")

    @contextmanager
    def on(stream: Any) -> Iterator[None]:
        said.append(f"on {stream.name}")
        yield
        said.append(f"off {stream.name}")

    def stream(name: str) -> SimpleNamespace:
        return SimpleNamespace(
            name=name, wait_stream=lambda other: said.append(f"{name} waits for {other.name}")
        )

    outside, pools = stream("outside"), itertools.count(1)
    for name, value in {
        "CUDAGraph": Graph,
        "graph": capture,
        "graph_pool_handle": lambda: f"pool {next(pools)}",
        "Stream": lambda device: stream("ours"),
        "current_stream": lambda: outside,
        "stream": on,
        "set_stream": lambda stream: said.append(f"back on {stream.name}"),
        "device": lambda device: nullcontext(),
    }.items():
        monkeypatch.setattr(torch.cuda, name, value)
    return said


def test_a_pattern_is_played_captured_and_replayed(log: list[str]):
    graphs = RoundGraphs(CudaGraphs(CPU))
    for _ in range(WARM_UP + 3):
        graphs.play((True,), lambda: log.append("round"), [Stream(log), Stream(log)])
    eager = ["ours waits for outside", "on ours", "round", "off ours", "outside waits for ours"]
    captured = ["register", "register", "capture on ours in pool 1", "round", "end of capture"]
    assert log == WARM_UP * eager + captured + 3 * ["replay"]


def test_patterns_share_a_pool_and_those_after_a_load_another(log: list[str]):
    graphs = RoundGraphs(CudaGraphs(CPU))
    for pattern in (1, 2):
        for _ in range(WARM_UP + 1):
            graphs.play(pattern, lambda: None, [])
    # What was recorded may be held by gradients: no graph may come into such a pool.
    graphs.forget()
    for _ in range(WARM_UP + 1):
        graphs.play(1, lambda: None, [])
    captures = [said for said in log if said.startswith("capture")]
    assert [said.rpartition(" ")[2] for said in captures] == ["1", "1", "2"]


def test_a_capture_that_fails_leaves_no_trace(log: list[str], caplog: pytest.LogCaptureFixture):
    stream, rounds = Stream(log), 0

    def play_round() -> None:
        nonlocal rounds
        if log[-1].startswith("capture on ours"):
            stream.state = "captured"
            raise RuntimeError("operation not permitted when stream is capturing")
        rounds += 1

    graphs = RoundGraphs(CudaGraphs(CPU))
    for _ in range(WARM_UP + 2):
        graphs.play((), play_round, [stream])
    assert rounds == WARM_UP + 2
    assert stream.state == "before"
    assert log.count("end of capture") == log.count("back on outside") == 1
    assert "replay" not in log
    assert "operation not permitted" in caplog.text


def test_the_rate_of_a_captured_optimiser_is_on_the_device():
    run = GAMES["dcgan"]()
    (group,) = run.players.generator_optimiser.param_groups
    assert group["lr"].dtype == torch.float64  # on a CPU, which reads it as a number
    assert not group["capturable"]
    before = group["lr"]
    content = run.state_dict()
    assert type(content["players"]["generator_optimiser"]["param_groups"][0]["lr"]) is float
    run.load_state_dict(content)
    assert run.players.generator_optimiser.param_groups[0]["lr"] is before
    assert_same_state(run.state_dict(), content)
