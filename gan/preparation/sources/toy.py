"""Points drawn from a toy's density, see `gan.toys`."""

from __future__ import annotations

from collections.abc import Generator

import numpy as np
import torch

from gan.config import DataConfig
from gan.preparation.sources import Batch, Source
from gan.preparation.split import in_test
from gan.runtime import stream_seed
from gan.toys import Toy, make_toy

# Its own, so that `seed` changes the run and not the data.
SEED = 0


def open_source(config: DataConfig, workers: int = 0) -> Source:
    """`config.toy_points` points; their labels say which mode, or arm, they were drawn from.

    Nothing is decoded, so `workers` is not used.
    """
    toy = make_toy(config.toy)
    return Source(
        toy=config.toy,
        kind="points",
        shape=(toy.dimensions,),
        label_names=toy.group_names,
        total=config.toy_points,
        batches=_batches(config, toy),
    )


def _batches(config: DataConfig, toy: Toy) -> Generator[Batch, None, None]:
    rng = torch.Generator().manual_seed(stream_seed(SEED, f"toy {config.toy}"))
    points, groups = toy.sample(config.toy_points, rng)
    keys = (f"toy/{index:05d}" for index in range(config.toy_points))
    yield Batch(
        examples=points.float().numpy(),
        in_test=np.array([in_test(key, config.test_fraction) for key in keys]),
        labels=groups.numpy() if toy.group_names is not None else None,
    )
