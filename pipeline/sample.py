"""Stage `sample`: images from the published generator, loaded as any other program would."""

from __future__ import annotations

import numpy as np
import torch
from tqdm import tqdm

from gan import figures
from gan.config import Config
from gan.files import atomic_write
from gan.published import load_generator
from gan.runtime import pick_device, stream_seed
from gan.sampling import generate, interpolate
from pipeline.params import run_stage
from pipeline.paths import GENERATOR, SAMPLES


def main(config: Config) -> None:
    """Write `results/samples`: the array, a grid and an interpolation."""
    sample = config.sample
    generator = load_generator(GENERATOR, pick_device(config.runtime.device))
    # Drawn on the CPU: the same latent on every device.
    rng = torch.Generator().manual_seed(stream_seed(config.seed, "samples"))

    shape = (sample.count, generator.channels, generator.size, generator.size)
    latent = generator.draw_latent(sample.count, rng)
    first = []
    with (
        atomic_write(SAMPLES / "samples.npy") as file,
        tqdm(total=sample.count, unit="image", desc="sample") as bar,
    ):
        header = {"descr": "|u1", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        for images in generate(generator, latent, sample.batch_size):
            file.write(images.tobytes())
            if bar.n < sample.grid**2:
                first.append(images)
            bar.update(len(images))
    figures.image_grid(np.concatenate(first)[: sample.grid**2], sample.grid, SAMPLES / "grid.png")

    ends = generator.draw_latent(2 * sample.interpolations, rng).chunk(2)
    path = interpolate(ends[0], ends[1], sample.interpolation_steps).flatten(0, 1)
    figures.image_grid(
        np.concatenate(list(generate(generator, path, sample.batch_size))),
        sample.interpolation_steps,
        SAMPLES / "interpolation.png",
    )


if __name__ == "__main__":
    run_stage(main)
