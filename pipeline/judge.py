"""Stage `judge`: what all samples on this data are compared with."""

from __future__ import annotations

from gan import judges
from gan.config import Config
from gan.data import open_prepared
from gan.files import write_json
from gan.runtime import pick_device
from pipeline.params import run_stage
from pipeline.paths import JUDGE, JUDGE_METRICS, PREPARED


def main(config: Config) -> None:
    """Write the judge and its metrics."""
    prepared, device = open_prepared(PREPARED), pick_device(config.runtime.device)
    write_json(
        JUDGE_METRICS, judges.of_kind(prepared.kind).make(prepared, config.judge, JUDGE, device)
    )


if __name__ == "__main__":
    run_stage(main, "judge")
