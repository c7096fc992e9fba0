"""Tiny games for the tests of the step and of the loop around it."""

import io
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import nn

from gan.config import Config, parse
from gan.data import TrainingSet
from gan.training.history import HistoryRow
from gan.training.snapshots import Snapshot
from gan.training.trainer import Trainer

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
    return Trainer(config or configure(), TrainingSet(images(**shape)), device=CPU)


def advance(run: Trainer) -> None:
    """One round, and a row of the history where one is due, as in the loop."""
    run.advance()
    if run._filled == run.config.train.record_every:
        run._record()


def resumed(play: Callable[[int], Trainer]) -> tuple[Trainer, Trainer]:
    """Six rounds, and three that go on for three more in another trainer: the same to the bit."""
    whole, first, second = play(6), play(3), play(0)
    saved = io.BytesIO()
    torch.save(first.state_dict(), saved)
    saved.seek(0)
    second.load_state_dict(torch.load(saved, weights_only=True))
    for _ in range(3):
        advance(second)
    assert_same_state(whole.state_dict(), second.state_dict())
    assert whole.rows() == second.rows()
    assert all(np.isfinite(row).all() for row in whole.rows())
    return whole, second


def measured(run: Trainer, step: int = 0) -> dict[str, float]:
    return dict(zip(run.players.measures, run._window[step].tolist(), strict=True))


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


class Recorder:
    """A watcher that keeps what it is told, and does something at each snapshot if asked to."""

    def __init__(self, then: Callable[[Snapshot], object] = lambda snapshot: None) -> None:
        self.samples: dict[int, np.ndarray] = {}
        self.rows_told: list[int] = []
        self._then = then

    def snapshot(self, snapshot: Snapshot) -> None:
        self.samples[snapshot.step] = snapshot.samples
        self._then(snapshot)

    def rows(self, rows: Sequence[HistoryRow], measures: Sequence[str]) -> None:
        assert all(len(row) == 2 + len(measures) for row in rows)
        self.rows_told.append(len(rows))
