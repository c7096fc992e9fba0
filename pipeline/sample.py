"""Stage `sample`: samples of the published generator, loaded as any other program would."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from tqdm import tqdm

from gan import figures, toy_figures
from gan.config import Config
from gan.data.prepared import KINDS
from gan.files import atomic_write
from gan.published import load_generator
from gan.runtime import pick_device, stream_seed
from gan.sampling import generate, interpolate
from pipeline.params import run_stage
from pipeline.paths import GENERATOR, SAMPLES


def main(config: Config) -> None:
    """Write `results/samples`: the array, a grid or scatter plot, an interpolation."""
    sample = config.sample
    generator = load_generator(GENERATOR, pick_device(config.runtime.device))
    # Drawn on the CPU: the same latent on every device.
    rng = torch.Generator().manual_seed(stream_seed(config.seed, "samples"))

    shape = (sample.count, *generator.shape)
    images = len(generator.shape) == 3
    latent = generator.draw_latent(sample.count, rng)
    first: list[npt.NDArray[Any]] = []
    shown = min(sample.count, sample.grid**2 if images else toy_figures.POINTS_SHOWN)
    with (
        atomic_write(SAMPLES / "samples.npy") as file,
        tqdm(total=sample.count, unit="image" if images else "point", desc="sample") as bar,
    ):
        descriptor = KINDS["images" if images else "points"].descriptor
        header = {"descr": descriptor, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        for batch in generate(generator, latent, sample.batch_size):
            file.write(batch.astype(descriptor, copy=False).tobytes())
            if bar.n < shown:
                first.append(batch)
            bar.update(len(batch))
    ends = generator.draw_latent(2 * sample.interpolations, rng).chunk(2)
    between = interpolate(
        ends[0], ends[1], sample.interpolation_steps, generator.config.latent
    ).flatten(0, 1)
    path = np.concatenate(list(generate(generator, between, sample.batch_size)))
    drawn = np.concatenate(first)[:shown]
    if images:
        figures.image_grid(drawn, sample.grid, SAMPLES / "grid.png")
        figures.image_grid(path, sample.interpolation_steps, SAMPLES / "interpolation.png")
    else:
        toy_figures.samples(drawn, SAMPLES / "grid.png")
        rows = path.reshape(-1, sample.interpolation_steps, *generator.shape)
        toy_figures.paths(rows, SAMPLES / "interpolation.png")


if __name__ == "__main__":
    run_stage(main)
