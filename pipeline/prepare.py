"""Stage `prepare`: a source becomes one array file a split and a manifest."""

from __future__ import annotations

from gan.config import Config
from gan.preparation.prepare import prepare
from pipeline.params import run_stage
from pipeline.paths import PREPARED


def main(config: Config) -> None:
    """Write `data/prepared`."""
    prepare(config.data, PREPARED, workers=config.runtime.workers)


if __name__ == "__main__":
    run_stage(main)
