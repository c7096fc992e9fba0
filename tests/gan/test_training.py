import copy
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from gan.config import Config, parse
from gan.errors import TrainingError
from gan.history import MEASURES
from gan.objectives import Game
from gan.state import hold
from gan.training import Interrupted, Trainer, frozen, grid_steps

CPU = torch.device("cpu")


def configure(**train: object) -> Config:
    values = {
        "model": {
            "latent_size": 4,
            "generator_width": 4,
            "discriminator_width": 4,
            "discriminator_norm": "batch",
        },
        "objective": {"penalties": {"r1": 0.0}, **train.pop("objective", {})},
        "train": {"steps": 6, "batch_size": 4, "record_every": 4, "sample_every": 3, **train},
        "runtime": {"checkpoint_seconds": 0.0, "progress_every": 1},
    }
    return parse(Config, values, "test")


def images(count: int = 24, channels: int = 1, size: int = 16) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, channels, size, size), np.uint8)


def trainer(config: Config | None = None, **shape: int) -> Trainer:
    return Trainer(config or configure(), images(**shape), device=CPU)


def measured(run: Trainer, step: int = 0) -> dict[str, float]:
    return dict(zip(MEASURES, run._window[step].tolist(), strict=True))


def snapshot(network: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in network.state_dict().items()}


def assert_same_state(one: object, other: object, where: str = "state") -> None:
    assert type(one) is type(other), where
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other), where
    elif isinstance(one, dict):
        assert one.keys() == other.keys(), where
        for key in one:
            assert_same_state(one[key], other[key], f"{where}.{key}")
    elif isinstance(one, list | tuple):
        assert len(one) == len(other), where
        for index, pair in enumerate(zip(one, other, strict=True)):
            assert_same_state(*pair, f"{where}[{index}]")
    else:
        assert one == other, where


class Grids:
    def __init__(self) -> None:
        self.written: dict[int, np.ndarray] = {}

    def __call__(self, step: int, grid: np.ndarray) -> None:
        self.written[step] = grid


def test_a_step_is_the_textbook_step():
    """Against the plain loop: two batches through D, a step; fresh logits through D, a step.

    With plain gradient descent on both sides: Adam's first steps are the signs of gradients, and
    turn a rounding of one that is nearly zero into a whole step.
    """
    ours = trainer(channels=3)
    generator, discriminator = copy.deepcopy(ours.generator), copy.deepcopy(ours.discriminator)
    generator.to(memory_format=torch.contiguous_format)
    discriminator.to(memory_format=torch.contiguous_format)
    descent_g = torch.optim.SGD(generator.parameters(), lr=0.05)
    descent_d = torch.optim.SGD(discriminator.parameters(), lr=0.05)
    ours._generator_optimiser = torch.optim.SGD(ours.generator.parameters(), lr=0.05)
    ours._discriminator_optimiser = torch.optim.SGD(ours.discriminator.parameters(), lr=0.05)
    twin = trainer(channels=3)  # the same streams of data and latents
    for _ in range(3):
        ours.advance()
        latent = generator.draw_latent(4, twin._latent_rng)
        real = twin._batches.next().float() / 127.5 - 1
        fake = generator(latent)
        descent_d.zero_grad()
        real_logits, fake_logits = discriminator(real), discriminator(fake.detach())
        loss_d = F.binary_cross_entropy_with_logits(
            real_logits, torch.ones(4)
        ) + F.binary_cross_entropy_with_logits(fake_logits, torch.zeros(4))
        loss_d.backward()
        descent_d.step()
        running = snapshot(discriminator)
        descent_g.zero_grad()
        loss_g = F.binary_cross_entropy_with_logits(discriminator(fake), torch.ones(4))
        loss_g.backward()
        descent_g.step()
        discriminator.load_state_dict(running)  # ours does not move D's statistics here
    for name, value in ours.generator.state_dict().items():
        torch.testing.assert_close(value, generator.state_dict()[name], rtol=1e-3, atol=2e-5)
    for name, value in ours.discriminator.state_dict().items():
        torch.testing.assert_close(value, discriminator.state_dict()[name], rtol=1e-3, atol=2e-5)
    last = measured(ours, 2)
    assert last["penalty"] == 0
    assert last["discriminator_loss"] == pytest.approx(loss_d.item(), rel=1e-4)
    assert last["generator_loss"] == pytest.approx(loss_g.item(), rel=1e-4)
    assert last["real_logit"] == pytest.approx(real_logits.mean().item(), rel=1e-3, abs=1e-5)
    assert last["fake_accuracy"] == pytest.approx((fake_logits < 0).float().mean().item())
    norm = torch.cat([p.grad.flatten() for p in generator.parameters()]).norm().item()
    assert last["generator_gradient_norm"] == pytest.approx(norm, rel=1e-3)


def test_the_optimisers_are_adam_with_the_usual_settings():
    run = trainer(configure(generator_learning_rate=1e-3, discriminator_learning_rate=3e-3))
    for optimiser, network, rate in (
        (run._generator_optimiser, run.generator, 1e-3),
        (run._discriminator_optimiser, run.discriminator, 3e-3),
    ):
        assert isinstance(optimiser, torch.optim.Adam)
        (group,) = optimiser.param_groups
        assert (group["lr"], group["betas"], group["eps"]) == (rate, (0.5, 0.999), 1e-8)
        assert len(group["params"]) == len(list(network.parameters()))


def test_saturating_is_the_minimax_game():
    run = trainer(configure(objective={"generator": "saturating"}))
    run.advance()
    twin = trainer(configure(objective={"generator": "saturating"}))
    fake = twin.generator(twin.generator.draw_latent(4, twin._latent_rng))
    # D has moved by its own step: its weights after it are the run's.
    with frozen(run.discriminator):
        logits = run.discriminator(fake)
    value = torch.log1p(-torch.sigmoid(logits.double())).mean().item()
    assert measured(run)["generator_loss"] == pytest.approx(value, rel=1e-4)
    assert value < 0


def test_the_generator_step_leaves_no_trace_in_the_discriminator(monkeypatch):
    run = trainer()
    before: dict[str, torch.Tensor] = {}
    gradients: list[torch.Tensor] = []
    original = Game.generator_loss

    def spy(self, logits):
        before.update(snapshot(run.discriminator))
        gradients.extend(p.grad.clone() for p in run.discriminator.parameters())
        return original(self, logits)

    monkeypatch.setattr(Game, "generator_loss", spy)
    run.advance()
    assert_same_state(before, snapshot(run.discriminator))
    assert any(name.endswith("num_batches_tracked") for name in before)
    for gradient, parameter in zip(gradients, run.discriminator.parameters(), strict=True):
        assert torch.equal(gradient, parameter.grad)
        assert parameter.requires_grad


def test_a_frozen_network_is_neither_changed_nor_paid_for():
    network = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(12, 1))
    network[0].bias.requires_grad_(False)
    before = snapshot(network)
    inputs = torch.randn(5, 1, 4, 4, requires_grad=True)
    with frozen(network):
        network(inputs).sum().backward()
    assert_same_state(before, snapshot(network))
    assert inputs.grad is not None
    assert all(parameter.grad is None for parameter in network.parameters())
    assert network[1].track_running_stats
    assert network[0].weight.requires_grad
    assert not network[0].bias.requires_grad  # as it was


def test_the_penalty_is_paid_lazily_and_scaled():
    values = configure().model_dump()
    values["model"]["discriminator_norm"] = "none"
    values["objective"] = {"penalties": {"r1": 0.5, "every": 3}, "d_steps": 2}
    run = Trainer(parse(Config, values, "test"), images(), device=CPU)
    for _ in range(4):
        run.advance()
    paid = [measured(run, step)["penalty"] for step in range(4)]
    # Discriminator steps 0, 3 and 6 pay; a row shows the last of its two: 1, 3, 5, 7.
    assert paid[0] == paid[2] == paid[3] == 0
    assert paid[1] > 0


def test_d_steps_take_a_batch_each():
    run = trainer(configure(objective={"d_steps": 3}))
    run.advance()
    assert run._batches.state_dict() == {"epoch": 0, "position": 12}
    assert run._discriminator_optimiser.state_dict()["state"][0]["step"] == 3
    assert run._generator_optimiser.state_dict()["state"][0]["step"] == 1
    # Discriminator images in the history: three batches of four.
    assert run.rows()[0][1] == 12


def test_bf16_trains_with_fp32_weights_and_losses(monkeypatch):
    monkeypatch.setattr("gan.training.computes_in_bf16", lambda device: True)
    run = trainer(configure(precision="bf16"))
    for _ in range(3):
        run.advance()
    assert all(p.dtype == torch.float32 for p in run.generator.parameters())
    assert run._window.dtype == torch.float32
    row = run.rows()[0]
    # Fresh networks: close to chance, 2·log 2 and log 2.
    assert row[2] == pytest.approx(2 * np.log(2), rel=0.3)
    exact = trainer(configure())
    for _ in range(3):
        exact.advance()
    assert row[2] == pytest.approx(exact.rows()[0][2], rel=0.05)
    assert row[2] != exact.rows()[0][2]


def test_bf16_where_it_would_be_emulated_is_fp32_and_says_so(monkeypatch, caplog):
    monkeypatch.setattr("gan.training.computes_in_bf16", lambda device: False)
    run, exact = trainer(configure(precision="bf16")), trainer(configure())
    assert "no bf16 instructions" in caplog.text
    run.advance()
    exact.advance()
    assert run.rows() == exact.rows()


def test_the_history_has_a_row_per_window_and_a_last_one(tmp_path: Path):
    run = trainer()
    with hold(tmp_path, {}) as state:
        run.run(state, run.config.runtime, Grids(), progress=False)
    rows = run.rows()
    assert [row[0] for row in rows] == [4, 6]
    assert [row[1] for row in rows] == [16, 24]
    assert len(run.history) == 1  # the last one is not part of the state


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("stop", [1, 3, 4, 6])
def test_a_resumed_run_is_the_same_to_the_bit(tmp_path: Path, stop: int, precision: str):
    config = configure(precision=precision, objective={"d_steps": 2})
    grids = Grids()
    whole = Trainer(config, images(), device=CPU)
    with hold(tmp_path, {"run": "whole"}) as state:
        whole.run(state, config.runtime, grids, progress=False)

    resumed_grids = Grids()
    with hold(tmp_path, {"run": "killed"}) as state:
        first = Trainer(config, images(), device=CPU)
        for _ in range(stop):
            first.advance()
            if first._filled == config.train.record_every:
                first._record()
            if first.step % config.train.sample_every == 0:
                resumed_grids(first.step, first.fixed_samples(64))
        state.save(first.step, first.state_dict())
        del first
        second = Trainer(config, images(), device=CPU)
        second.run(state, config.runtime, resumed_grids, progress=False)

    assert_same_state(whole.state_dict(), second.state_dict())
    assert whole.rows() == second.rows()
    assert sorted(grids.written) == sorted(resumed_grids.written) == grid_steps(6, 3)
    for step, grid in grids.written.items():
        assert np.array_equal(grid, resumed_grids.written[step])


def test_more_steps_extend_a_finished_run_to_the_same_bits(tmp_path: Path):
    long = configure(steps=9)
    whole = Trainer(long, images(), device=CPU)
    with hold(tmp_path, {"run": "whole"}) as state:
        whole.run(state, long.runtime, Grids(), progress=False)
    with hold(tmp_path, {"run": "extended"}) as state:
        Trainer(configure(), images(), device=CPU).run(state, long.runtime, Grids(), progress=False)
        state.finish(6)
        extended = Trainer(long, images(), device=CPU)
        extended.run(state, long.runtime, Grids(), progress=False)
    assert_same_state(whole.state_dict(), extended.state_dict())


@pytest.mark.parametrize("steps", [3, 4])  # at a grid, and between two
def test_a_run_may_end_where_it_was_interrupted(tmp_path: Path, steps: int):
    short, long = configure(steps=steps), configure(steps=6)
    grids, wanted = Grids(), Grids()
    whole = Trainer(short, images(), device=CPU)
    with hold(tmp_path, {"run": "whole"}) as state:
        whole.run(state, short.runtime, wanted, progress=False)
    with hold(tmp_path, {"run": "interrupted"}) as state:
        first = Trainer(long, images(), device=CPU)
        advance = first.advance

        def interrupted() -> None:
            advance()
            if first.step == steps:
                os.kill(os.getpid(), signal.SIGINT)

        first.advance = interrupted
        with pytest.raises(Interrupted):
            first.run(state, long.runtime, grids, progress=False)
        second = Trainer(short, images(), device=CPU)
        second.run(state, short.runtime, grids, progress=False)
    assert_same_state(whole.state_dict(), second.state_dict())
    assert sorted(grids.written) == sorted(wanted.written) == grid_steps(steps, 3)
    for step, grid in wanted.written.items():
        assert np.array_equal(grid, grids.written[step])


def test_a_run_goes_on_on_another_device_and_says_so(tmp_path: Path, caplog):
    """A generator of random numbers has a state of another kind there."""
    one = trainer()
    one.advance()
    content = one.state_dict()
    content["device"], content["latent_rng"] = "cuda", torch.zeros(16, dtype=torch.uint8)
    drawn = []
    for _ in range(2):
        other = trainer()
        other.load_state_dict(content)
        drawn.append(other.generator.draw_latent(4, other._latent_rng))
        other.advance()
        assert other.step == 2
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], trainer().generator.draw_latent(4, trainer()._latent_rng))
    assert "interrupted on cuda and goes on on cpu" in caplog.text


def test_a_note_of_the_speed_that_fails_ends_no_run(tmp_path: Path):
    run = trainer()
    with hold(tmp_path, {}) as state:
        (state.folder / "speed.csv").mkdir()
        run.run(state, run.config.runtime, Grids(), progress=False)
    assert run.step == 6


def test_the_speed_is_noted_once_a_row(tmp_path: Path):
    config = configure(steps=9)
    with hold(tmp_path, {}) as state:
        Trainer(configure(), images(), device=CPU).run(
            state, config.runtime, Grids(), progress=False
        )
        Trainer(config, images(), device=CPU).run(state, config.runtime, Grids(), progress=False)
        header, *rows = (state.folder / "speed.csv").read_text().splitlines()
    assert header == "step,seconds_per_step,images_per_second"
    assert [row.split(",")[0] for row in rows] == ["4", "8"]
    for row in rows:
        _, seconds, rate = map(float, row.split(","))
        assert seconds * rate == pytest.approx(4, rel=0.01)


def test_a_loss_that_is_not_finite_stops_with_step_and_name(tmp_path: Path, monkeypatch):
    config = configure(steps=20, record_every=5)
    run = Trainer(config, images(), device=CPU)
    original = Game.generator_loss

    def fails(self, logits):
        loss = original(self, logits)
        return loss * float("inf") if run.step == 7 else loss

    monkeypatch.setattr(Game, "generator_loss", fails)
    with hold(tmp_path, {}) as state:
        with pytest.raises(TrainingError, match="generator_loss became inf at step 8"):
            run.run(state, config.runtime, Grids(), progress=False)
        step, content = state.latest()
    assert step == 7
    assert all(torch.isfinite(value).all() for value in content["generator"].values())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_saves_the_state_and_stops(tmp_path: Path, number: signal.Signals):
    config = configure(steps=1000)
    config = config.model_copy(
        update={"runtime": config.runtime.model_copy(update={"checkpoint_seconds": 1e9})}
    )
    run = Trainer(config, images(), device=CPU)
    handler = signal.getsignal(number)

    def write_grid(step: int, grid: np.ndarray) -> None:
        os.kill(os.getpid(), number)

    with hold(tmp_path, {}) as state:
        with pytest.raises(Interrupted, match="stopped at step 3 of 1000"):
            run.run(state, config.runtime, write_grid, progress=False)
        assert state.latest()[0] == 3
    assert signal.getsignal(number) == handler


def test_an_ignored_signal_stays_ignored(tmp_path: Path):
    config = configure()
    run = Trainer(config, images(), device=CPU)
    handler = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with hold(tmp_path, {}) as state:
            run.run(
                state,
                config.runtime,
                lambda step, grid: os.kill(os.getpid(), signal.SIGHUP),
                progress=False,
            )
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, handler)
    assert run.step == 6


def test_the_seed_determines_the_run_and_nothing_global_does():
    torch.manual_seed(1)
    one = trainer()
    one.advance()
    before = torch.random.get_rng_state()
    two = trainer()
    two.advance()
    assert torch.equal(before, torch.random.get_rng_state())
    assert_same_state(one.state_dict(), two.state_dict())
    other = Trainer(configure().model_copy(update={"seed": 1}), images(), device=CPU)
    assert not torch.equal(one.generator.dense.weight, other.generator.dense.weight)


def test_the_average_is_what_the_updates_make_of_it():
    config = configure(ema_half_life=8.0, ema_warmup=0.0)  # half-life: two batches of four
    run = Trainer(config, images(), device=CPU)
    average = snapshot(run.average)["dense.weight"]
    for _ in range(3):
        run.advance()
        average = average.lerp(run.generator.dense.weight.detach(), 1 - 0.5**0.5)
    torch.testing.assert_close(run.average.dense.weight, average)


def test_grids_are_written_every_so_often_and_at_the_end():
    assert grid_steps(10, 3) == [3, 6, 9, 10]
    assert grid_steps(9, 3) == [3, 6, 9]
    assert grid_steps(2, 5) == [2]


@pytest.mark.gpu
def test_a_step_never_waits_for_the_gpu():
    device = torch.device("cuda")
    run = Trainer(configure(), images(), device=device)
    run.advance()
    torch.cuda.set_sync_debug_mode("error")
    try:
        run.advance()
        run.advance()
    finally:
        torch.cuda.set_sync_debug_mode("default")
