"""Stage `sample`: samples of the published generator, loaded as any other program would."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from tqdm import tqdm

from gan.config import Config
from gan.data.manifest import KINDS
from gan.data.meaning import label_alphabet, labels_of
from gan.data.prepared import open_prepared
from gan.errors import DataError
from gan.figures import images as figures
from gan.figures import labels as classification_figures
from gan.figures import points as toy_figures
from gan.figures import text as text_figures
from gan.files import atomic_write
from gan.generators.prediction import predict
from gan.generators.published import load_generator
from gan.generators.sampling import generate, generate_between
from gan.models.base import Generator
from gan.runtime import pick_device, stream_seed
from pipeline.params import run_stage
from pipeline.paths import GENERATOR, PREPARED, SAMPLES

UNITS = {"images": "image", "points": "point", "text": "text"}


def main(config: Config) -> None:
    """Write `results/samples`: the array, a picture of some samples, an interpolation.

    Images of symbols are decoded; of texts the array holds symbols, and `samples.txt` a line each.
    Of a classifier the array holds what it gives for the test images.
    """
    sample = config.sample
    generator = load_generator(GENERATOR, pick_device(config.runtime.device))
    if generator.alphabet is not None and generator.alphabet.labels is not None:
        _classify(config, generator)
        return
    # Drawn on the CPU: the same latent on every device.
    rng = torch.Generator().manual_seed(stream_seed(config.seed, "samples"))

    shape = (sample.count, *generator.shape)
    kind = _kind(generator)
    latent = generator.draw_latent(sample.count, rng)
    first: list[npt.NDArray[Any]] = []
    shown = {
        "images": sample.grid**2, "points": toy_figures.POINTS_SHOWN, "text": sample.count
    }[kind]  # fmt: skip
    # Of the symbols that are drawn from a discrete generator's distributions.
    seed = stream_seed(config.seed, "symbols of samples")
    with (
        atomic_write(SAMPLES / "samples.npy") as file,
        tqdm(total=sample.count, unit=UNITS[kind], desc="sample") as bar,
    ):
        descriptor = KINDS[kind].descriptor
        header = {"descr": descriptor, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        for batch in generate(generator, latent, sample.batch_size, seed):
            file.write(batch.astype(descriptor, copy=False).tobytes())
            if bar.n < shown:
                first.append(batch)
            bar.update(len(batch))
    start, end = generator.draw_latent(2 * sample.interpolations, rng).chunk(2)
    seed = stream_seed(config.seed, "symbols of interpolation")
    path: npt.NDArray[Any] = generate_between(
        generator, start, end, sample.interpolation_steps, seed
    )
    drawn = np.concatenate(first)[:shown]
    if generator.alphabet is not None and kind == "text":
        texts = generator.alphabet.decode_text(drawn)
        text_figures.lines(texts, SAMPLES / "samples.txt")
        text_figures.page(texts[: sample.grid**2], SAMPLES / "grid.png", title="samples")
        text_figures.page(
            generator.alphabet.decode_text(path.reshape(-1, *generator.shape)),
            SAMPLES / "interpolation.png",
            title="from one latent vector to another",
            group=sample.interpolation_steps,
        )
    elif kind == "images":
        figures.image_grid(drawn, sample.grid, SAMPLES / "grid.png")
        images = path.reshape(-1, *generator.shape)
        figures.image_grid(images, sample.interpolation_steps, SAMPLES / "interpolation.png")
    else:
        toy_figures.samples(drawn, SAMPLES / "grid.png")
        toy_figures.paths(path, SAMPLES / "interpolation.png")


def _classify(config: Config, classifier: Generator) -> None:
    """Write the probabilities, a table of predictions, and a picture of some of them."""
    prepared = open_prepared(PREPARED)
    alphabet = label_alphabet(prepared)
    if alphabet != classifier.alphabet:
        raise DataError(
            f"{PREPARED} has other classes than {GENERATOR} gives: run train again, or prepare"
        )
    images, labels = prepared.images("test"), labels_of(prepared, "test")
    probabilities = predict(classifier, images, config.sample.batch_size)
    names = alphabet.labels or ()
    with atomic_write(SAMPLES / "samples.npy") as file:
        np.save(file, probabilities, allow_pickle=False)
    classification_figures.write_predictions(
        probabilities, labels, names, SAMPLES / "predictions.csv"
    )
    shown = config.sample.grid**2
    classification_figures.predictions(
        images[:shown],
        probabilities[:shown],
        labels[:shown],
        names,
        SAMPLES / "grid.png",
        columns=config.sample.grid,
    )


def _kind(generator: Generator) -> Literal["images", "points", "text"]:
    """What samples of `generator` are; images of symbols are drawn as images."""
    if generator.alphabet is not None and generator.alphabet.is_text:
        return "text"
    return "images" if len(generator.shape) == 3 else "points"


if __name__ == "__main__":
    run_stage(main)
