"""Training step: the textbook PyTorch DCGAN loop against `gan.training`, in one process.

    python -m benchmarks.training_step [--size 32] [--width 64] [--batch 64] [--compile]

The textbook loop is the one of the PyTorch tutorials: NCHW, fp32, sigmoid and BCE, the
discriminator learning nothing from the generator's step but paying for its gradients. Both sides
have the same layers, batch and data, start from the array of uint8 images, and take turns; ours
also averages the generator and measures what goes into the history. On a GPU ours is there launch
by launch and as CUDA graphs, with `--compile` everywhere also with networks by torch.compile.
Reported is the median over rounds of the ratio textbook / ours within a round.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import torch
from torch import nn

from benchmarks.report import machine, print_table, results_path, write_csv
from gan.config import Config, parse
from gan.data import TrainingSet
from gan.runtime import pick_device
from gan.training.round_graph import WARM_UP
from gan.training.trainer import Trainer

LATENT = 100


def textbook_networks(size: int, width: int, channels: int) -> tuple[nn.Module, nn.Module]:
    """Generator and discriminator as in the DCGAN tutorial, for `size` pixels."""
    levels = (size // 4).bit_length() - 1
    widths = [width * 2**level for level in range(levels)]
    up: list[nn.Module] = []
    before = LATENT
    for index, after in enumerate(reversed(widths)):
        geometry = (4, 1, 0) if index == 0 else (4, 2, 1)
        up += [
            nn.ConvTranspose2d(before, after, *geometry, bias=False),
            nn.BatchNorm2d(after),
            nn.ReLU(True),
        ]
        before = after
    up += [nn.ConvTranspose2d(before, channels, 4, 2, 1, bias=False), nn.Tanh()]
    down: list[nn.Module] = [
        nn.Conv2d(channels, width, 4, 2, 1, bias=False),
        nn.LeakyReLU(0.2, inplace=True),
    ]
    for before, after in pairwise(widths):
        down += [
            nn.Conv2d(before, after, 4, 2, 1, bias=False),
            nn.BatchNorm2d(after),
            nn.LeakyReLU(0.2, inplace=True),
        ]
    down += [nn.Conv2d(widths[-1], 1, 4, 1, 0, bias=False), nn.Sigmoid()]
    return nn.Sequential(*up), nn.Sequential(*down)


def textbook(
    images: np.ndarray, width: int, batch: int, device: torch.device
) -> Callable[[], None]:
    """One step of the tutorial's loop, as a function."""
    _, channels, size, _ = images.shape
    generator, discriminator = (n.to(device) for n in textbook_networks(size, width, channels))
    criterion = nn.BCELoss()
    optimisers = [
        torch.optim.Adam(network.parameters(), lr=2e-4, betas=(0.5, 0.999))
        for network in (discriminator, generator)
    ]
    loader = torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(torch.from_numpy(images)), batch, shuffle=True,
        drop_last=True,
    )  # fmt: skip
    batches = iter(loader)
    one = torch.ones(batch, device=device)
    zero = torch.zeros(batch, device=device)

    def step() -> None:
        nonlocal batches
        try:
            (rows,) = next(batches)
        except StopIteration:
            batches = iter(loader)
            (rows,) = next(batches)
        real = rows.to(device).float() / 127.5 - 1
        discriminator.zero_grad()
        criterion(discriminator(real).view(-1), one).backward()
        fake = generator(torch.randn(batch, LATENT, 1, 1, device=device))
        criterion(discriminator(fake.detach()).view(-1), zero).backward()
        optimisers[0].step()
        generator.zero_grad()
        criterion(discriminator(fake).view(-1), one).backward()
        optimisers[1].step()

    return step


def ours(
    images: np.ndarray,
    width: int,
    batch: int,
    device: torch.device,
    precision: str,
    **runtime: object,
) -> Callable[[], None]:
    """One step of our trainer on the same layers, as a function."""
    config = parse(
        Config,
        {
            "model": {
                "latent_size": LATENT,
                "generator_width": width,
                "discriminator_width": width,
                "discriminator_norm": "batch",
            },
            "objective": {"penalties": {"r1": 0.0}},
            "train": {"batch_size": batch, "precision": precision, "record_every": 50},
            "runtime": {"graph": "off", **runtime},
        },
        "benchmark",
    )
    trainer = Trainer(config, TrainingSet(images), device=device)

    def step() -> None:
        trainer.advance()
        if trainer._filled == config.train.record_every:
            trainer._record()

    return step


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.training_step",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--channels", type=int, default=3, choices=(1, 3))
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--steps", type=int, default=4, help="a round and side")
    parser.add_argument("--compile", action="store_true", help="ours by torch.compile as well")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--tag", default="", help="added to the name of the CSV file")
    options = parser.parse_args()

    device = pick_device(options.device)
    images = np.random.default_rng(0).integers(
        0, 256, (2048, options.channels, options.size, options.size), np.uint8
    )
    sides = {
        "textbook": textbook(images, options.width, options.batch, device),
    }
    ways: dict[str, dict[str, object]] = {"": {}}
    if device.type == "cuda":
        ways[" graph"] = {"graph": "auto"}
    if options.compile:
        ways[" compiled"] = {"compile": True}
    for precision in ("fp32", "bf16"):
        for way, runtime in ways.items():
            sides[f"ours {precision}{way}"] = ours(
                images, options.width, options.batch, device, precision, **runtime
            )
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for step in sides.values():
        for _ in range(max(options.steps, WARM_UP + 2)):
            step()  # compiles, records
    for _ in range(options.rounds):
        for name, step in sides.items():
            start = time.perf_counter()
            for _ in range(options.steps):
                step()
            if device.type == "cuda":
                torch.cuda.synchronize()
            seconds[name].append((time.perf_counter() - start) / options.steps)

    rows = []
    for name, times in seconds.items():
        ratios = [a / b for a, b in zip(seconds["textbook"], times, strict=True)]
        twenty, eighty = np.percentile(ratios, [20, 80])
        rows.append(
            {
                "side": name,
                "size": options.size,
                "channels": options.channels,
                "width": options.width,
                "batch": options.batch,
                "step_ms": round(1e3 * statistics.median(times), 2),
                "images_per_second": round(options.batch / statistics.median(times)),
                "speedup_median": round(statistics.median(ratios), 2),
                "speedup_p20": round(float(twenty), 2),
                "speedup_p80": round(float(eighty), 2),
            }
        )
    print(machine(device))
    print_table(rows)
    write_csv(results_path("training_step" + options.tag, device), rows, device)


if __name__ == "__main__":
    main()
