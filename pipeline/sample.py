"""Stage `sample`: samples of the published generator, loaded as any other program would."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import numpy as np
import numpy.typing as npt
import torch

from gan.config import Config
from gan.data import Prepared, open_prepared
from gan.data.meaning import in_units, label_alphabet
from gan.errors import DataError
from gan.files import atomic_write
from gan.generators import generate, load_generator, predict
from gan.generators.lines import write_lines, write_table
from gan.generators.samples_file import read_samples, write_samples
from gan.generators.sampling import generate_between
from gan.models.base import Generator
from gan.pixels import Points
from gan.runtime import pick_device, stream_seed
from gan.symbols import Characters
from pipeline.params import run_stage
from pipeline.paths import GENERATOR, PREPARED, SAMPLES


def main(config: Config) -> None:
    """Write `results/samples`: the samples, and some between pairs of latent vectors.

    Of a classifier the samples are what it gives for the test images. Texts are also in
    `samples.txt`, to be read, and points of a table in `samples.csv`, in its units.
    """
    for name in ("samples.txt", "samples.csv"):  # of another run, when DVC is not around
        (SAMPLES / name).unlink(missing_ok=True)
    generator = load_generator(GENERATOR, pick_device(config.runtime.device))
    prepared = open_prepared(PREPARED)
    if generator.kind == "labels":
        found = _classify(generator, prepared, config.sample.batch_size)
        write_samples(SAMPLES, "labels", found.shape, [found])
        return
    sample = config.sample
    # Drawn on the CPU: the same latent on every device.
    rng = torch.Generator().manual_seed(stream_seed(config.seed, "samples"))
    latent = generator.draw_latent(sample.count, rng)
    # Of the symbols that are drawn from a discrete generator's distributions.
    seed = stream_seed(config.seed, "symbols of samples")
    batches = generate(generator, latent, sample.batch_size, seed)
    shape = (sample.count, *generator.shape)
    write_samples(SAMPLES, generator.kind, shape, batches, alphabet=generator.alphabet)
    if isinstance(generator.alphabet, Characters):
        texts = _texts(generator.alphabet, sample.batch_size)
        write_lines(texts, SAMPLES / "samples.txt")
    if prepared.manifest.columns is not None:
        columns = prepared.manifest.columns
        rows = in_units(cast(Points, read_samples(SAMPLES).array), columns)  # [N, D]
        write_table(rows, [column.name for column in columns], SAMPLES / "samples.csv")
    start, end = generator.draw_latent(2 * sample.interpolations, rng).chunk(2)
    seed = stream_seed(config.seed, "symbols of interpolation")
    between = generate_between(generator, start, end, sample.interpolation_steps, seed)
    with atomic_write(SAMPLES / "interpolation.npy") as file:
        np.save(file, between, allow_pickle=False)


def _texts(alphabet: Characters, batch: int) -> Iterator[str]:
    samples = read_samples(SAMPLES).array
    for start in range(0, len(samples), batch):
        yield from alphabet.decode(np.asarray(samples[start : start + batch]))


def _classify(classifier: Generator, prepared: Prepared, batch: int) -> npt.NDArray[np.float32]:
    if label_alphabet(prepared) != classifier.alphabet:
        raise DataError(
            f"{PREPARED} has other classes than {GENERATOR} gives: run train again, or prepare"
        )
    return predict(classifier, prepared.images("test"), batch)


if __name__ == "__main__":
    run_stage(main, "sample")
