"""Stage `evaluate`: the samples are judged."""

from __future__ import annotations

import csv
import io
import sys
from typing import Any

import numpy as np
import numpy.typing as npt

from gan.config import Config
from gan.data.prepared import Prepared, open_prepared
from gan.errors import DataError
from gan.evaluation.images import Evaluation, evaluate
from gan.evaluation.labels import evaluate_classifier
from gan.evaluation.points import evaluate_points, mode_shares
from gan.evaluation.text import evaluate_text
from gan.figures import images as figures
from gan.figures import labels as classification_figures
from gan.figures import points as toy_figures
from gan.figures import text as text_figures
from gan.files import write_bytes, write_json
from gan.judges.images import Judge, load_judge
from gan.judges.points import load_toy_judge
from gan.judges.text import load_text_judge
from gan.runtime import pick_device
from pipeline.params import run_stage
from pipeline.paths import EVALUATE_METRICS, EVALUATION, JUDGE, PREPARED, SAMPLES


def main(config: Config) -> None:
    """Write the metrics and `results/evaluation`."""
    prepared = open_prepared(PREPARED)
    if prepared.manifest.kind == "points":
        _evaluate_points(config, prepared)
        return
    if prepared.manifest.kind == "text":
        _evaluate_text(config, prepared)
        return
    judge = load_judge(JUDGE, pick_device(config.runtime.device))
    samples = _read_samples()
    if samples.ndim == 2:  # what a classifier gives for the test images, probabilities
        _evaluate_classifier(samples, prepared, judge)
        return
    found = evaluate(samples, prepared, judge, config.evaluate, seed=config.seed)

    count = len(found.nearest.indices)
    figures.nearest_images(
        samples[:count],
        prepared.images("train")[found.nearest.indices],
        found.nearest.distances,
        EVALUATION / "nearest.png",
    )
    if found.class_shares is not None:
        names = prepared.manifest.label_names or []
        figures.class_histogram(names, found.class_shares, EVALUATION / "classes.png")
        _write_classes(names, found.class_shares)
    write_json(EVALUATE_METRICS, found.metrics)
    print(summary(found), file=sys.stderr)


def _evaluate_points(config: Config, prepared: Prepared) -> None:
    checksum = prepared.manifest.checksum
    toy = load_toy_judge(JUDGE, checksum)
    samples = _read_samples()
    metrics = evaluate_points(
        samples, toy, config.evaluate, seed=config.seed, data_checksum=checksum
    )
    toy_figures.samples(samples, EVALUATION / "density.png", toy)
    names = prepared.manifest.label_names
    if names is not None:
        shares = mode_shares(samples, toy)
        figures.class_histogram(names, shares, EVALUATION / "classes.png")
        _write_classes(names, shares)
    write_json(EVALUATE_METRICS, metrics)
    print(points_summary(metrics), file=sys.stderr)


def _evaluate_text(config: Config, prepared: Prepared) -> None:
    judge = load_text_judge(JUDGE, prepared.manifest.checksum)
    metrics = evaluate_text(_read_samples(), prepared, judge, config.evaluate, seed=config.seed)
    text_figures.divergences(metrics["jensen_shannon"], EVALUATION / "ngrams.png")
    write_json(EVALUATE_METRICS, metrics)
    print(text_summary(metrics), file=sys.stderr)


def _evaluate_classifier(probabilities: npt.NDArray[Any], prepared: Prepared, judge: Judge) -> None:
    found = evaluate_classifier(probabilities, prepared, judge)
    names = prepared.manifest.label_names or []
    classification_figures.confusion(found.confusion, names, EVALUATION / "confusion.png")
    write_json(EVALUATE_METRICS, found.metrics)
    print(classifier_summary(found.metrics), file=sys.stderr)


def _read_samples() -> npt.NDArray[Any]:
    try:
        samples: npt.NDArray[Any] = np.load(
            SAMPLES / "samples.npy", mmap_mode="c", allow_pickle=False
        )
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{SAMPLES / 'samples.npy'} cannot be read: {error}") from error
    return samples


def _write_classes(names: list[str], shares: dict[str, list[float]]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["class", *shares])
    for index, name in enumerate(names):
        writer.writerow([name, *(f"{values[index]:.6g}" for values in shares.values())])
    write_bytes(EVALUATION / "classes.csv", text.getvalue().encode())


def summary(found: Evaluation) -> str:
    """The few numbers that one looks at first, in one line."""
    fd, metrics = found.metrics["fd"], found.metrics
    parts = [
        f"Fréchet distance {fd['value']:.2f} (real against real {fd['floor']:.2f})",
        f"precision {metrics['precision']['value']:.3f}",
        f"recall {metrics['recall']['value']:.3f}",
    ]
    if found.class_shares is not None:
        classes = metrics["classes"]
        parts.append(
            f"{classes['covered']} of {classes['count']} classes "
            f"({classes['smallest_share']:.1%} to {classes['largest_share']:.1%})"
        )
    return ", ".join(parts)


def points_summary(metrics: dict[str, Any]) -> str:
    """The few numbers of points that one looks at first, in one line."""
    shannon = metrics["jensen_shannon"]
    parts = [
        f"Jensen–Shannon divergence {shannon['value']:.3f} (real against real "
        f"{shannon['floor']:.3f})",
        f"{metrics['good_share']['value']:.1%} good samples",
    ]
    if "modes" in metrics:
        parts.append(f"{metrics['modes']['hit']} of {metrics['modes']['count']} modes")
    return ", ".join(parts)


def text_summary(metrics: dict[str, Any]) -> str:
    """The few numbers of texts that one looks at first, in one line."""
    # Of n-grams longer than the texts there is nothing to say, nor of words without a word.
    longest, row = [
        (n, row) for n, row in metrics["jensen_shannon"].items() if row["floor"] is not None
    ][-1]
    words = metrics["words"]["in_held_out"]
    shares = {key: "none" if value is None else f"{value:.1%}" for key, value in words.items()}
    return (
        f"Jensen–Shannon divergence of {longest}-grams {row['at_floor_count']:.3f} (real against "
        f"real {row['floor']:.3f}, shuffled {row['shuffled']:.3f}), {shares['value']} of the words "
        f"known (real {shares['floor']}, shuffled {shares['shuffled']})"
    )


def classifier_summary(metrics: dict[str, Any]) -> str:
    """The few numbers of a classifier that one looks at first, in one line."""
    error = metrics["error"]
    return (
        f"{error['value']:.2%} of the test images wrong (judge {error['judge']:.2%}, always the "
        f"most frequent class {error['most_frequent_class']:.2%}), log loss "
        f"{metrics['log_loss']:.3f} nats"
    )


if __name__ == "__main__":
    run_stage(main)
