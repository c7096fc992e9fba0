"""Stage `judge`: the network whose features all samples on this data are measured in."""

from __future__ import annotations

from gan.config import Config
from gan.data.prepared import open_prepared
from gan.files import write_json
from gan.judges.images import fit_judge, save_judge
from gan.judges.points import save_toy_judge
from gan.judges.text import save_text_judge
from gan.runtime import pick_device
from pipeline.params import run_stage
from pipeline.paths import JUDGE, JUDGE_METRICS, PREPARED


def main(config: Config) -> None:
    """Write the judge and its metrics.

    Of points, whose density is known, it is that density; of texts it is what they are made of.
    """
    prepared = open_prepared(PREPARED)
    if prepared.manifest.kind == "points":
        write_json(JUDGE_METRICS, save_toy_judge(prepared, JUDGE))
        return
    if prepared.manifest.kind == "text":
        write_json(JUDGE_METRICS, save_text_judge(prepared, JUDGE, seed=config.judge.seed))
        return
    device = pick_device(config.runtime.device)
    judge, report = fit_judge(prepared, config.judge, device=device)
    save_judge(judge, JUDGE)
    write_json(JUDGE_METRICS, report.metrics())


if __name__ == "__main__":
    run_stage(main)
