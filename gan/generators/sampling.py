"""From latent vectors to examples."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from fusedgan_kernels import Samples, sample_bernoulli, sample_categorical
from gan.models.base import Generator, evaluating
from gan.pixels import Examples, from_network
from gan.symbols import Alphabet, symbol_array


@torch.no_grad()
def generate(
    generator: Generator,
    latent: Tensor,
    batch_size: int = 256,
    seed: int = 0,
    *,
    fresh: bool = True,
) -> Iterator[Examples]:
    """Examples from `latent` `[N, latent_size]` as the data would have them, batch by batch.

    Images are uint8 `[≤ batch_size, C, S, S]`, points fp32 `[≤ batch_size, D]`, symbols of texts
    uint8 or uint16 `[≤ batch_size, L]`. Of a generator of symbols one example is drawn for each
    latent vector; images of symbols come as their colours.

    The generator runs in evaluation mode, on the device of its weights, and is left in the mode
    it was in.

    Args:
        generator: published or in training.
        latent: on any device.
        batch_size: latent vectors at once. The symbols that are drawn depend on it.
        seed: of the symbols; the same on every device.
        fresh: each batch draws its symbols with random numbers of its own. Without, all do with the
            same ones, so that batches of almost the same latent vectors are almost the same.
    """
    device = next(generator.parameters()).device
    alphabet = generator.alphabet
    with evaluating(generator):
        for index, chunk in enumerate(latent.split(batch_size)):
            outputs = generator(chunk.to(device))
            if alphabet is None:
                yield from_network(outputs).contiguous().cpu().numpy()
                continue
            drawn = draw_symbols(outputs, 1, alphabet, seed=seed, offset=index if fresh else 0)
            symbols = symbol_array(drawn.symbols[0], alphabet.size)  # [≤ batch_size, *positions]
            yield alphabet.shown(symbols)


def draw_symbols(
    logits: Tensor, samples: int, alphabet: Alphabet, *, seed: int, offset: int | Tensor = 0
) -> Samples:
    """M samples of g(x|z) for each row of logits, and their log-probabilities.

    Args:
        logits: Bernoulli `[B, *positions]` where the alphabet has two symbols, else categorical
            `[B, V, *positions]`.
        samples: M.
        alphabet: says which of the two.
        seed: of the stream of random numbers; see `kernels.sample_categorical`.
        offset: which draw of that stream; a 0-d int64 tensor on the logits' device is read anew
            when a recorded call is replayed.

    Returns:
        Symbols `[M, B, *positions]`, uint8, int32 of more than 256, and log-probabilities `[M, B]`,
        differentiable.
    """
    if alphabet.size == 2:
        return sample_bernoulli(logits, samples, seed, offset)
    return sample_categorical(logits, samples, seed, offset, dim=1)


def generate_between(
    generator: Generator, start: Tensor, end: Tensor, steps: int, seed: int = 0
) -> Examples:
    """Examples along the way from `start` to `end`, both `[R, latent_size]`: `[R, steps, …]`.

    What `generate` gives of `interpolate`d latent vectors. All steps draw their symbols with the
    same random numbers, so that what changes from one to the next is what their distributions
    change.
    """
    path = interpolate(start, end, steps, generator.config.latent)  # [R, steps, Z]
    frames = generate(
        generator, rearrange(path, "r steps z -> (steps r) z"), len(start), seed, fresh=False
    )
    return cast(Examples, np.stack(list(frames), axis=1))


def interpolate(start: Tensor, end: Tensor, steps: int, prior: str = "normal") -> Tensor:
    """Interpolation between latent vectors: `[R, Z]`, `[R, Z]` to `[R, steps, Z]`.

    Spherical where the prior is `normal`: points between two Gaussian vectors keep a norm that the
    prior would give; a straight line passes through much shorter ones (White 2016, arXiv
    1609.04468, section 2.1). The straight line where it is `uniform`: an arc would leave the cube.
    """
    if prior == "uniform":
        share = torch.linspace(0, 1, steps, dtype=start.dtype, device=start.device)[None, :, None]
        return torch.lerp(start[:, None], end[:, None], share)
    unit_start = start / start.norm(dim=1, keepdim=True)
    unit_end = end / end.norm(dim=1, keepdim=True)
    cosine = (unit_start * unit_end).sum(1, keepdim=True).clamp(-1, 1)
    angle = cosine.acos()[:, None]  # [R, 1, 1]
    t = torch.linspace(0, 1, steps, dtype=start.dtype, device=start.device)[None, :, None]
    # Parallel vectors have no angle to turn by: there the line is the arc.
    parallel = angle.sin().abs() < 1e-6
    safe = torch.where(parallel, torch.ones_like(angle), angle)
    weight_start = torch.where(parallel, 1 - t, ((1 - t) * safe).sin() / safe.sin())
    weight_end = torch.where(parallel, t, (t * safe).sin() / safe.sin())
    return weight_start * start[:, None] + weight_end * end[:, None]  # [R, steps, Z]
