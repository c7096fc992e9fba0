import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch

from gan.data import TrainingSet
from gan.errors import TrainingError
from gan.game.objectives import Game
from gan.training.snapshots import Snapshot, load_snapshots, snapshot_steps
from gan.training.state import hold
from gan.training.trainer import Interrupted, Trainer
from tests.gan.playing import CPU, Recorder, assert_same_state, configure, images, snapshot, trainer


def test_the_history_has_a_row_per_window_and_a_last_one(tmp_path: Path):
    run = trainer()
    with hold(tmp_path, {}) as state:
        run.run(state, run.config.runtime, Recorder(), progress=False)
    rows = run.rows()
    assert [row[0] for row in rows] == [4, 6]
    assert [row[1] for row in rows] == [16, 24]
    assert len(run.history) == 1  # the last one is not part of the state


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("stop", [1, 3, 4, 6])
def test_a_resumed_run_is_the_same_to_the_bit(tmp_path: Path, stop: int, precision: str):
    config = configure(precision=precision, objective={"d_steps": 2})
    watcher = Recorder()
    whole = Trainer(config, TrainingSet(images()), device=CPU)
    with hold(tmp_path, {"run": "whole"}) as state:
        whole.run(state, config.runtime, watcher, progress=False)

    resumed_watcher = Recorder()
    with hold(tmp_path, {"run": "killed"}) as state:
        first = Trainer(config, TrainingSet(images()), device=CPU)
        resumed_watcher.snapshot(first.snapshot())
        for _ in range(stop):
            first.advance()
            if first._filled == config.train.record_every:
                first._record()
            if first.step in snapshot_steps(6, 3):
                resumed_watcher.snapshot(first.snapshot())
        state.save(first.step, first.state_dict())
        del first
        second = Trainer(config, TrainingSet(images()), device=CPU)
        second.run(state, config.runtime, resumed_watcher, progress=False)

    assert_same_state(whole.state_dict(), second.state_dict())
    assert whole.rows() == second.rows()
    assert sorted(watcher.samples) == sorted(resumed_watcher.samples) == snapshot_steps(6, 3)
    for step, samples in watcher.samples.items():
        assert np.array_equal(samples, resumed_watcher.samples[step])


def test_more_steps_extend_a_finished_run_to_the_same_bits(tmp_path: Path):
    long = configure(steps=9)
    whole = Trainer(long, TrainingSet(images()), device=CPU)
    with hold(tmp_path, {"run": "whole"}) as state:
        whole.run(state, long.runtime, Recorder(), progress=False)
    with hold(tmp_path, {"run": "extended"}) as state:
        Trainer(configure(), TrainingSet(images()), device=CPU).run(
            state, long.runtime, Recorder(), progress=False
        )
        state.finish(6)
        extended = Trainer(long, TrainingSet(images()), device=CPU)
        extended.run(state, long.runtime, Recorder(), progress=False)
    assert_same_state(whole.state_dict(), extended.state_dict())


@pytest.mark.parametrize("steps", [3, 4])  # at a grid, and between two
def test_a_run_may_end_where_it_was_interrupted(tmp_path: Path, steps: int):
    short, long = configure(steps=steps), configure(steps=6)
    watcher, wanted = Recorder(), Recorder()
    whole = Trainer(short, TrainingSet(images()), device=CPU)
    with hold(tmp_path, {"run": "whole"}) as state:
        whole.run(state, short.runtime, wanted, progress=False)
    with hold(tmp_path, {"run": "interrupted"}) as state:
        first = Trainer(long, TrainingSet(images()), device=CPU)
        advance = first.advance

        def interrupted() -> None:
            advance()
            if first.step == steps:
                os.kill(os.getpid(), signal.SIGINT)

        first.advance = interrupted
        with pytest.raises(Interrupted):
            first.run(state, long.runtime, watcher, progress=False)
        second = Trainer(short, TrainingSet(images()), device=CPU)
        second.run(state, short.runtime, watcher, progress=False)
    assert_same_state(whole.state_dict(), second.state_dict())
    assert sorted(watcher.samples) == sorted(wanted.samples) == snapshot_steps(steps, 3)
    for step, samples in wanted.samples.items():
        assert np.array_equal(samples, watcher.samples[step])


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
        run.run(state, run.config.runtime, Recorder(), progress=False)
    assert run.step == 6


def test_the_speed_is_noted_once_a_row(tmp_path: Path):
    config = configure(steps=9)
    with hold(tmp_path, {}) as state:
        Trainer(configure(), TrainingSet(images()), device=CPU).run(
            state, config.runtime, Recorder(), progress=False
        )
        Trainer(config, TrainingSet(images()), device=CPU).run(
            state, config.runtime, Recorder(), progress=False
        )
        header, *rows = (state.folder / "speed.csv").read_text().splitlines()
    assert header == "step,seconds_per_step,images_per_second"
    assert [row.split(",")[0] for row in rows] == ["4", "8"]
    for row in rows:
        _, seconds, rate = map(float, row.split(","))
        # Each is rounded by itself, the rate to a tenth.
        assert seconds * rate == pytest.approx(4, rel=0.01, abs=0.1 * seconds)


def test_a_loss_that_is_not_finite_stops_with_step_and_name(tmp_path: Path, monkeypatch):
    config = configure(steps=20, record_every=5)
    run = Trainer(config, TrainingSet(images()), device=CPU)
    original = Game.generator_loss

    def fails(self, *logits):
        loss, statistics = original(self, *logits)
        return loss * float("inf") if run.step == 7 else loss, statistics

    monkeypatch.setattr(Game, "generator_loss", fails)
    with hold(tmp_path, {}) as state:
        with pytest.raises(TrainingError, match="generator_loss became inf at step 8"):
            run.run(state, config.runtime, Recorder(), progress=False)
        step, content = state.latest()
    assert step == 7
    assert all(torch.isfinite(value).all() for value in content["players"]["generator"].values())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_saves_the_state_and_stops(tmp_path: Path, number: signal.Signals):
    config = configure(steps=1000)
    config = config.model_copy(
        update={"runtime": config.runtime.model_copy(update={"checkpoint_seconds": 1e9})}
    )
    run = Trainer(config, TrainingSet(images()), device=CPU)
    handler = signal.getsignal(number)

    def ask_to_stop(snapshot: Snapshot) -> None:
        if snapshot.step == 3:
            os.kill(os.getpid(), number)

    with hold(tmp_path, {}) as state:
        with pytest.raises(Interrupted, match="stopped at step 3 of 1000"):
            run.run(state, config.runtime, Recorder(ask_to_stop), progress=False)
        assert state.latest()[0] == 3
    assert signal.getsignal(number) == handler


def test_an_ignored_signal_stays_ignored(tmp_path: Path):
    config = configure()
    run = Trainer(config, TrainingSet(images()), device=CPU)
    handler = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with hold(tmp_path, {}) as state:
            run.run(
                state,
                config.runtime,
                Recorder(lambda snapshot: os.kill(os.getpid(), signal.SIGHUP)),
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
    other = Trainer(configure().model_copy(update={"seed": 1}), TrainingSet(images()), device=CPU)
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
    run = Trainer(config, TrainingSet(images()), device=CPU)
    average = snapshot(run.average)["dense.weight"]
    for _ in range(3):
        run.advance()
        average = average.lerp(run.generator.dense.weight.detach(), 1 - 0.5**0.5)
    torch.testing.assert_close(run.average.dense.weight, average)


def test_snapshots_are_in_the_state_and_a_watcher_changes_nothing(tmp_path: Path):
    watcher, found = Recorder(), []
    for name, told in (("watched", watcher), ("alone", None)):
        run = trainer()
        with hold(tmp_path, {"run": name}) as state:
            run.run(state, run.config.runtime, told, progress=False)
            found.append((run, load_snapshots(state.snapshots)))
    (watched, snapshots), (alone, others) = found
    assert_same_state(watched.state_dict(), alone.state_dict())
    assert watcher.rows_told == [1]  # of six steps, a row every four
    assert [each.step for each in snapshots] == snapshot_steps(6, 3)
    for one, other in zip(snapshots, others, strict=True):
        assert one.kind == other.kind == "images"
        assert np.array_equal(one.samples, other.samples)
        assert np.array_equal(one.samples, watcher.samples[one.step])
    assert np.array_equal(snapshots[-1].samples, watched.fixed_samples(64))


@pytest.mark.gpu
def test_a_step_never_waits_for_the_gpu():
    device = torch.device("cuda")
    run = Trainer(configure(), TrainingSet(images()), device=device)
    run.advance()
    torch.cuda.set_sync_debug_mode("error")
    try:
        run.advance()
        run.advance()
    finally:
        torch.cuda.set_sync_debug_mode("default")
