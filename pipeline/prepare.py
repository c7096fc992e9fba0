"""Stage `prepare`: a source becomes one array file a split and a manifest."""

from __future__ import annotations

import importlib

from gan.config import Config
from gan.preparation.prepare import prepare
from pipeline.params import run_stage
from pipeline.paths import PREPARED


def main(config: Config) -> None:
    """Write `data/prepared`."""
    # By name: what checks is no part of what the result depends on, see `gan.code`.
    limits = importlib.import_module("pipeline.limits")
    prepare(
        config.data,
        PREPARED,
        workers=config.runtime.workers,
        check=lambda extent: limits.check_all(config, extent),
    )


if __name__ == "__main__":
    run_stage(main)
