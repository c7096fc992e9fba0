"""Networks by torch.compile: asked in the place of the others, with the same parameters."""

import functools
from types import ModuleType

import pytest
import torch
from torch._dynamo.testing import CompileCounterWithBackend

from gan.config import Config, parse
from gan.data import TrainingSet
from gan.errors import ConfigError
from gan.game.players import frozen
from gan.training.round_graph import why_not_recorded
from gan.training.trainer import Trainer
from tests.gan.game import test_label_players, test_symbol_players
from tests.gan.playing import CPU, assert_same_state, images


def values(**sections: dict) -> dict[str, dict]:
    model = {"latent_size": 4, "generator_width": 4, "discriminator_width": 4}
    return {
        "model": model | sections.get("model", {}),
        "objective": {"penalties": {"r1": 0.0}, **sections.get("objective", {})},
        "train": {"batch_size": 4, "record_every": 20, **sections.get("train", {})},
        "data": sections.get("data", {}),
    }


def trainer(given: dict[str, dict], *, compile: bool) -> Trainer:  # noqa: A002 - its name
    config = parse(Config, given | {"runtime": {"compile": compile}}, "test")
    rng = torch.Generator().manual_seed(0)
    points = torch.randn(20, 2, generator=rng).numpy()
    data = points if config.data.kind == "points" else images(size=8)
    return Trainer(config, TrainingSet(data), device=CPU)


GAMES = {
    "mlp": values(data={"name": "toy"}, model={"name": "mlp"}),
    "dcgan": values(
        model={"discriminator_norm": "batch"}, objective={"d_steps": 2, "g_steps": 2}
    ),
    "resnet, spectral normalisation": values(model={"name": "resnet", "spectral_norm": True}),
    "bf16": values(train={"precision": "bf16"}, model={"discriminator_norm": "layer"}),
    "weight clipping": values(
        objective={"discriminator": "wasserstein", "generator": "wasserstein", "weight_clip": 0.01},
        train={"betas": [0.0, 0.9]},
    ),
}  # fmt: skip


@pytest.fixture(autouse=True)
def backend(monkeypatch: pytest.MonkeyPatch) -> CompileCounterWithBackend:
    """The compiler's front end and its backward pass, without minutes of C++; counts graphs."""
    torch._dynamo.reset()
    backend = CompileCounterWithBackend("aot_eager")
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend=backend))
    monkeypatch.setattr("gan.game.players.computes_in_bf16", lambda device: True)
    return backend


def assert_plays_the_same(
    plain: Trainer, compiled: Trainer, backend: CompileCounterWithBackend
) -> None:
    for _ in range(3):
        plain.advance()
        compiled.advance()
    # Both networks, most discriminators for either player.
    assert backend.frame_count >= 2
    torch.testing.assert_close(compiled._window, plain._window, rtol=2e-3, atol=2e-4)
    # The same keys: a checkpoint of either is one of the other.
    for name, value in compiled.discriminator.state_dict().items():
        torch.testing.assert_close(
            value, plain.discriminator.state_dict()[name], rtol=2e-3, atol=2e-3
        )


@pytest.mark.parametrize("game", GAMES)
def test_a_compiled_game_is_the_game(game: str, backend: CompileCounterWithBackend):
    plain, compiled = (trainer(GAMES[game], compile=each) for each in (False, True))
    assert_plays_the_same(plain, compiled, backend)


@pytest.mark.parametrize(
    ("module", "mechanism"),
    [
        (test_symbol_players, "one beta on text"),
        (test_symbol_players, "straight through on text"),
        (test_label_players, "importance"),
    ],
)
def test_games_on_symbols_are_compiled(
    module: ModuleType,
    mechanism: str,
    monkeypatch: pytest.MonkeyPatch,
    backend: CompileCounterWithBackend,
):
    def play() -> Trainer:
        if module is test_label_players:
            return module.trainer(**module.MECHANISMS[mechanism])
        return module.play(mechanism)

    plain = play()
    original = Config.model_validate

    def compiling(given: dict, **named: object) -> Config:
        return original(given | {"runtime": {"compile": True}}, **named)

    monkeypatch.setattr(Config, "model_validate", compiling)
    assert_plays_the_same(plain, play(), backend)


def test_a_frozen_discriminator_stays_as_it_is():
    run = trainer(GAMES["dcgan"], compile=True)
    run.advance()
    before = {name: value.clone() for name, value in run.discriminator.state_dict().items()}
    gradients = [p.grad for p in run.discriminator.parameters()]
    inputs = torch.randn(4, 1, 8, 8, requires_grad=True)
    with frozen(run.discriminator):
        run.players._ask_discriminator(inputs).sum().backward()
    assert inputs.grad is not None
    assert_same_state(before, dict(run.discriminator.state_dict()))
    assert all(
        p.grad is gradient
        for p, gradient in zip(run.discriminator.parameters(), gradients, strict=True)
    )


@pytest.mark.parametrize("name", ["r1", "r2", "gradient_penalty"])
def test_penalties_are_refused_by_name(name: str):
    penalties = {"r1": 0.0, name: 0.5}
    given = values(objective={"penalties": penalties}) | {"runtime": {"compile": True}}
    with pytest.raises(
        ConfigError,
        match=rf"runtime.compile is true, but objective.penalties.{name} is 0.5.*expected compile "
        rf"false, or {name} 0",
    ):
        parse(Config, given, "test")
    given["runtime"]["compile"] = False
    parse(Config, given, "test")


def test_a_compiled_run_is_not_recorded():
    config = parse(Config, values() | {"runtime": {"compile": True}}, "test")
    reason = why_not_recorded(config, torch.device("cuda"))
    assert reason is not None
    assert reason.startswith("runtime.compile is true")


def test_nothing_is_compiled_by_default():
    assert trainer(GAMES["dcgan"], compile=False).players._compiled is None
    assert Config().runtime.compile is False
