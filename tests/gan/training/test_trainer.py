import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch

from gan.errors import TrainingError
from gan.game.objectives import Game
from gan.training.state import hold
from gan.training.trainer import Interrupted, Trainer, grid_steps
from tests.gan.playing import CPU, Grids, assert_same_state, configure, images, snapshot, trainer


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
    content["players"]["device"] = "cuda"
    content["players"]["latent_rng"] = torch.zeros(16, dtype=torch.uint8)
    drawn = []
    for _ in range(2):
        other = trainer()
        other.load_state_dict(content)
        drawn.append(other.generator.draw_latent(4, other.players.latent_rng))
        other.advance()
        assert other.step == 2
    assert torch.equal(drawn[0], drawn[1])
    fresh = trainer()
    assert not torch.equal(drawn[0], fresh.generator.draw_latent(4, fresh.players.latent_rng))
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

    def fails(self, *logits):
        loss, statistics = original(self, *logits)
        return loss * float("inf") if run.step == 7 else loss, statistics

    monkeypatch.setattr(Game, "generator_loss", fails)
    with hold(tmp_path, {}) as state:
        with pytest.raises(TrainingError, match="generator_loss became inf at step 8"):
            run.run(state, config.runtime, Grids(), progress=False)
        step, content = state.latest()
    assert step == 7
    assert all(torch.isfinite(value).all() for value in content["players"]["generator"].values())


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


def test_fixed_samples_are_those_of_the_average():
    run = trainer()
    run.advance()
    before = run.fixed_samples(4)
    torch.nn.init.zeros_(run.generator.dense.weight)
    assert np.array_equal(run.fixed_samples(4), before)
    torch.nn.init.zeros_(run.average.dense.weight)
    assert not np.array_equal(run.fixed_samples(4), before)


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
