"""Rounds that are recorded and replayed, by a tape of operators in the place of CUDA graphs.

What a tape or a CUDA graph would freeze is found by both: a number of Python's among an operator's
arguments, and memory that another round would not find again.
"""

import io
import logging
from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor

from gan.config import Config, parse
from gan.data import TrainingSet
from gan.training import round_graph
from gan.training.round_graph import Recording, Round, RoundGraphs, make_recorder, why_not_recorded
from gan.training.state import hold
from gan.training.trainer import Trainer
from tests.gan import test_games
from tests.gan.game import test_label_players, test_symbol_players
from tests.gan.playing import (
    CPU,
    Recorder,
    advance,
    assert_same_state,
    configure,
    images,
    resumed,
    trainer,
)
from tests.gan.tape import Call, Operators, Tape, as_on_a_gpu, no_waiting

# Longer than any of these goes: rates change until the end.
STEPS = 40


def points(**train: object) -> Trainer:
    """The family mlp, on points, with a rate that goes down."""
    values = {
        "data": {"name": "toy"},
        "model": {"name": "mlp", "latent_size": 3, "generator_width": 8, "discriminator_width": 8},
        "objective": {"penalties": {"r1": 1.0, "r2": 0.5, "every": 3}},
        "train": {"steps": STEPS, "batch_size": 6, "record_every": 4, "schedule": "linear"},
    }
    rng = torch.Generator().manual_seed(0)
    data = torch.randn(20, 2, generator=rng).numpy()
    return Trainer(parse(Config, values, "test"), TrainingSet(data), device=CPU)


def critic() -> Trainer:
    """WGAN-GP with five critic steps a round, one in three of which pays."""
    values = configure(steps=STEPS, schedule="cosine").model_dump()
    values["model"]["discriminator_norm"] = "layer"
    values["objective"] = {
        "discriminator": "wasserstein",
        "generator": "wasserstein",
        "d_steps": 5,
        "penalties": {"r1": 0.0, "gradient_penalty": 10.0, "every": 3},
    }
    return Trainer(parse(Config, values, "test"), TrainingSet(images()), device=CPU)


def dcgan(every: int) -> Trainer:
    """DCGAN with R1 now and then, or never."""
    values = configure(steps=STEPS).model_dump()
    values["model"]["discriminator_norm"] = "none"
    values["objective"]["penalties"] = {"r1": 0.1 if every else 0.0, "every": every or 1}
    return Trainer(parse(Config, values, "test"), TrainingSet(images()), device=CPU)


FAMILIES: dict[str, Callable[[], Trainer]] = {
    "mlp": points,
    "dcgan": lambda: dcgan(0),
    "dcgan, lazy R1": lambda: dcgan(4),
    "WGAN-GP": critic,
}
# And one a mechanism of games on numbers, symbols and labels.
GAMES: dict[str, Callable[[], Trainer]] = {
    **FAMILIES,
    **{
        f"numbers: {name}": lambda name=name: test_games.play(name, steps=STEPS)
        for name in test_games.MECHANISMS
    },
    **{
        f"symbols: {name}": lambda name=name: test_symbol_players.play(name)
        for name in test_symbol_players.MECHANISMS
    },
    **{
        f"labels: {name}": lambda of=of: test_label_players.trainer(**of)
        for name, of in test_label_players.MECHANISMS.items()
    },
}


@pytest.fixture(autouse=True)
def _as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    as_on_a_gpu(monkeypatch)
    monkeypatch.setattr("gan.game.players.computes_in_bf16", lambda device: True)


@pytest.fixture
def tapes(monkeypatch: pytest.MonkeyPatch) -> list[Tape]:
    """From here on trainers record, each with a tape, after one round of each pattern."""
    made: list[Tape] = []

    def make(config: Config, device: torch.device) -> Tape:
        made.append(Tape())
        return made[-1]

    monkeypatch.setattr("gan.training.trainer.make_recorder", make)
    monkeypatch.setattr(round_graph, "WARM_UP", 1)
    return made


def play(game: str, rounds: int) -> Trainer:
    run = GAMES[game]()
    for _ in range(rounds):
        advance(run)
    return run


def patterns(run: Trainer, rounds: int) -> list[tuple[bool, ...]]:
    return [run.players.due(step) for step in range(rounds)]


def state_tensors(run: Trainer) -> dict[str, Tensor]:
    """Everything on the device that a round leaves for the next one."""
    players = run.players
    found: dict[str, Tensor] = {"window": run._window, "log_z": players.log_z}
    modules = {
        "generator": run.generator,
        "discriminator": run.discriminator,
        "average": run.average,
    }
    optimisers = {
        "of generator": players.generator_optimiser,
        "of discriminator": players.discriminator_optimiser,
    }
    baseline = getattr(players, "_baseline", None)
    if hasattr(baseline, "_network"):
        modules["baseline"], optimisers["of baseline"] = baseline._network, baseline._optimiser
    of_symbols = {
        "draws": getattr(players, "_draws", None),
        "baseline's log_z": getattr(baseline, "_log_z", None),
    }
    found |= {name: tensor for name, tensor in of_symbols.items() if tensor is not None}
    for where, module in modules.items():
        tensors = [*module.named_parameters(), *module.named_buffers()]
        found |= {f"{where}.{name}": tensor for name, tensor in tensors}
    for where, optimiser in optimisers.items():
        for index, moments in enumerate(optimiser.state.values()):
            found |= {f"{where}.{index}.{name}": tensor for name, tensor in moments.items()}
        for group in optimiser.param_groups:
            if isinstance(group["lr"], Tensor):
                found[f"{where}.lr"] = group["lr"]
    for index, batch in enumerate(run._static):
        found |= {
            f"batch {index}.{name}": tensor
            for name, tensor in vars(batch).items()
            if isinstance(tensor, Tensor)
        }
    return found


def enough(game: str) -> int:
    """Rounds that come to each pattern of penalties three times, or nearly."""
    return 10 if game in FAMILIES else 6


def assert_replayed(game: str, tapes: list[Tape]) -> None:
    """A run that is recorded ends as one that is not, with its state where it was."""
    tapes.clear()
    run = play(game, 1)
    (tape,) = tapes
    places = {name: tensor.data_ptr() for name, tensor in state_tensors(run).items()}
    assert len(places) > 20
    for _ in range(enough(game) - 1):
        advance(run)
    assert {name: tensor.data_ptr() for name, tensor in state_tensors(run).items()} == places

    eager = GAMES[game]()
    eager._graphs = None
    for _ in range(enough(game)):
        advance(eager)
    assert_same_state(eager.state_dict(), run.state_dict())
    assert eager.rows() == run.rows()
    # After one round of each pattern, and one that was recorded, there were replays.
    different = set(patterns(eager, enough(game)))
    assert tape.played == len(tape.recordings) == len(different)
    assert 2 * len(different) < enough(game)


@pytest.mark.parametrize("game", GAMES)
def test_replays_are_rounds_to_the_bit(game: str, tapes: list[Tape]):
    assert_replayed(game, tapes)


@pytest.mark.parametrize(
    "game", ["mlp", "dcgan", "symbols: one beta on text", "labels: importance"]
)
def test_replays_gather_from_an_array_on_the_device(
    game: str, tapes: list[Tape], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("gan.data.batches._fits", lambda *_: True)
    assert_replayed(game, tapes)
    ((recording, *_),) = (tape.recordings for tape in tapes[:1])
    assert any(call.name == "index" for call in recording.calls)


def test_each_pattern_of_penalties_has_a_recording(tapes: list[Tape]):
    play("WGAN-GP", 11)
    (tape,) = tapes
    # Of five steps in a row of which every third pays, in three ways: two, two, or one pay.
    paying = [sum(call.name == "rand" for call in recording.calls) for recording in tape.recordings]
    assert sorted(paying) == [1, 2, 2]


@pytest.mark.parametrize("game", GAMES)
def test_two_rounds_call_the_same_operators_with_the_same_numbers(
    game: str, monkeypatch: pytest.MonkeyPatch
):
    class Scribe(Tape):
        def __init__(self) -> None:
            super().__init__()
            self.rounds: list[list[Call]] = []

        def play(self, play_round: Round) -> None:
            with Operators() as operators:
                play_round()
            self.rounds.append(operators.calls)

    scribe = Scribe()
    monkeypatch.setattr("gan.training.trainer.make_recorder", lambda *_: scribe)
    monkeypatch.setattr(round_graph, "WARM_UP", 10**6)
    rounds = enough(game) - 1
    run = play(game, rounds)
    of_pattern: dict[tuple[bool, ...], list[str]] = {}
    compared = 0
    # The first round makes the optimisers' moments.
    for due, calls in list(zip(patterns(run, rounds), scribe.rounds, strict=True))[1:]:
        described = [call.described() for call in calls]
        if due in of_pattern:
            compared += 1
            assert described == of_pattern[due]
        of_pattern[due] = described
    assert compared >= 2


@pytest.mark.parametrize("game", ["mlp", "dcgan, lazy R1", "WGAN-GP", "labels: reinforce, learned"])
def test_recorded_runs_resume_to_the_bit(game: str, tapes: list[Tape]):
    resumed(lambda rounds: play(game, rounds))
    assert sum(len(tape.recordings) for tape in tapes) >= 3


def test_checkpoints_are_the_same_bytes(request: pytest.FixtureRequest):
    def saved(run: Trainer) -> bytes:
        content = io.BytesIO()
        torch.save(run.state_dict(), content)
        return content.getvalue()

    for game in ("dcgan, lazy R1", "symbols: reinforce with a learned baseline"):
        eager = saved(play(game, 7))
        request.getfixturevalue("tapes")
        assert saved(play(game, 7)) == eager
        request.getfixturevalue("monkeypatch").undo()


def test_a_recorded_run_goes_on_where_an_eager_one_was_killed(tmp_path, tapes: list[Tape]):
    config = configure(steps=9, objective={"d_steps": 2})
    whole = Trainer(config, TrainingSet(images()), device=CPU, recorder=Tape())
    for _ in range(9):
        advance(whole)
    eager = trainer(config)
    eager._graphs = None
    for _ in range(4):
        advance(eager)
    again = Trainer(config, TrainingSet(images()), device=CPU, recorder=Tape())
    with hold(tmp_path, {}) as state:
        state.save(4, eager.state_dict())
        again.run(state, config.runtime, Recorder(), progress=False)
    assert_same_state(whole.state_dict(), again.state_dict())


def test_recordings_of_a_state_that_was_replaced_are_forgotten(tapes: list[Tape]):
    run = play("dcgan", 4)
    assert len(tapes[0].recordings) == 1
    content = io.BytesIO()
    torch.save(run.state_dict(), content)
    content.seek(0)
    run.load_state_dict(torch.load(content, weights_only=True))
    for _ in range(3):
        advance(run)
    assert len(tapes[0].recordings) == 2
    assert_same_state(run.state_dict(), play("dcgan", 7).state_dict())


def test_what_cannot_be_recorded_is_played_with_a_reason(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    tried = 0

    class Refusing(Tape):
        def record(self, play_round: Round, streams: Sequence[torch.Generator]) -> Recording:
            nonlocal tried
            tried += 1
            raise RuntimeError("operation not permitted\nwhen stream is capturing")

    eager = play("dcgan, lazy R1", 9)
    monkeypatch.setattr("gan.training.trainer.make_recorder", lambda *_: Refusing())
    run = play("dcgan, lazy R1", 9)
    assert_same_state(eager.state_dict(), run.state_dict())
    assert tried == 1
    (message,) = caplog.messages
    assert "runtime.graph" in message
    assert r"operation not permitted\nwhen stream is capturing" in message


def test_a_mistake_is_not_a_round_that_cannot_be_recorded():
    class Broken(Tape):
        def record(self, play_round: Round, streams: Sequence[torch.Generator]) -> Recording:
            raise TypeError("a mistake")

    graphs = RoundGraphs(Broken())
    for _ in range(round_graph.WARM_UP):
        graphs.play(0, lambda: None, [])
    with pytest.raises(TypeError, match="a mistake"):
        graphs.play(0, lambda: None, [])


@pytest.mark.parametrize(
    ("graph", "device", "reason"),
    [
        ("off", "cuda", "runtime.graph is off"),
        ("off", "cpu", "runtime.graph is off"),
        ("auto", "cpu", "the device is cpu: graphs are CUDA's"),
        ("auto", "mps", "the device is mps: graphs are CUDA's"),
        ("auto", "cuda:1", None),
    ],
)
def test_why_a_run_is_not_recorded(graph: str, device: str, reason: str | None):
    config = parse(Config, {"runtime": {"graph": graph}}, "test")
    assert why_not_recorded(config, torch.device(device)) == reason


def test_a_cpu_has_no_recorder_and_no_warning(caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.DEBUG)
    assert make_recorder(Config(), CPU) is None
    assert trainer()._graphs is None
    assert caplog.messages == []


# --- the mode itself -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "wait",
    [
        lambda x: x.sum().item(),
        lambda x: float(x[0]),
        lambda x: bool(x[0] > 0),
        lambda x: x.tolist(),
        lambda x: x.numpy(),
        lambda x: x.cpu(),
        lambda x: x[x > 0],
        lambda x: x.nonzero(),
        lambda x: torch.equal(x, x),
        lambda x: torch.unique(x),
        lambda x: torch.masked_select(x, x > 0),
        lambda x: x + torch.tensor(1.0),
        lambda x: 1 if x[0] > 0 else 2,
        lambda x: [0, 1, 2][x[0].long()],
    ],
)
def test_waiting_is_found(wait: Callable[[Tensor], object]):
    x = torch.arange(3.0)
    with pytest.raises(AssertionError, match="waits for the device"), no_waiting():
        wait(x)


def test_what_does_not_wait_is_written_down():
    x = torch.arange(3.0)
    with no_waiting() as calls:
        y = x[(x > 1).long()].mul_(2)
    assert y.tolist() == [0, 0, 2]
    assert [call.name for call in calls] == ["gt", "_to_copy", "index", "mul_"]
