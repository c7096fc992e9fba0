"""Scikit-learn's handwritten digits: 1,797 real scans, 8×8 with 17 grey levels, offline."""

from __future__ import annotations

from collections.abc import Generator

import numpy as np
import numpy.typing as npt

from gan.config import DataConfig
from gan.errors import UserError
from gan.preparation.fit import fit_batch
from gan.preparation.sources import Batch, Source
from gan.preparation.split import in_test


def open_source(config: DataConfig, workers: int = 0) -> Source:
    """The digits, white on black, resized to `config.size` (8 is their own size).

    Nothing is decoded, so `workers` is not used.

    Raises:
        UserError: scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise UserError(
            "data.name is digits, which come with scikit-learn, but it is not installed: install "
            "the extra `pipeline` (pip install 'fusedgan[pipeline]')"
        ) from None
    bunch = load_digits()
    return Source(
        shape=(1, config.size, config.size),
        label_names=tuple(str(name) for name in bunch.target_names),
        total=len(bunch.images),
        batches=_batches(config, bunch.images, bunch.target),
    )


def _batches(
    config: DataConfig, levels: npt.NDArray[np.float64], labels: npt.NDArray[np.int64]
) -> Generator[Batch, None, None]:
    # [N, 8, 8], levels 0 … 16 to 0 … 255
    images = np.round(levels * (255 / 16)).astype(np.uint8)
    fit = "resize" if config.fit == "auto" else config.fit
    yield Batch(
        examples=fit_batch(images, config.size, fit)[:, None],
        in_test=np.array(
            [in_test(f"digits/{index:05d}", config.test_fraction) for index in range(len(images))]
        ),
        labels=labels.astype(np.int64),
    )
