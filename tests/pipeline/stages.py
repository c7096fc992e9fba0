"""All stages one after the other, without DVC around them."""

from pathlib import Path

from gan.config import Config
from pipeline import evaluate, judge, prepare, report, sample, train

STAGES = (prepare, judge, train, sample, evaluate, report)


def run(config: Config) -> dict[str, bytes]:
    """Run all stages in the working directory; the outs by path."""
    for stage in STAGES:
        stage.main(config)
    folders = ("data", "models", "metrics", "results")
    files = (path for folder in folders for path in Path(folder).rglob("*") if path.is_file())
    return {str(path): path.read_bytes() for path in sorted(files)}
