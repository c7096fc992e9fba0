"""Sampling, log-probabilities and their gradient in plain PyTorch, a block at a time.

What has a number for each sample and position exists for one block of rows and positions only: a
block fits a CPU's second-level cache, so this is also faster than the same operations on whole
tensors. For shapes see `definitions`.
"""

import math
import sys
from collections.abc import Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .definitions import by_position, chosen, symbol_dtype, wide
from .fixed_point import BERNOULLI_BITS, cumulative_categorical, unlikely_bernoulli
from .stream import BUFFERS, WORDS, Stream, words

# Numbers a block, of samples and of logits: what keeps the scratch tensors in a cache, and on a
# GPU, where every operation is a launch, what keeps their memory small beside the logits'.
BLOCK = {"cpu": 3 << 15}
BLOCK_ELSEWHERE = 1 << 21
# Up to so many categories comparing with all is faster than a binary search.
COUNTED = 64
# Which of the two halves of an int64 is the high one.
_HIGH = 1 if sys.byteorder == "little" else 0


class _Block(NamedTuple):
    """A range of rows, positions and samples; samples begin at a multiple of `WORDS`."""

    rows: slice
    positions: slice
    samples: list[slice]


def sample(logits: Tensor, samples: int, stream: Stream) -> tuple[Tensor, Tensor]:
    """Symbols [M, B, P], `definitions.symbol_dtype`, and their log-probabilities [M, B]."""
    rows, positions = logits.shape[:2]
    dtype = symbol_dtype(logits)
    symbols = torch.empty(samples, rows, positions, dtype=dtype, device=logits.device)
    log_probs = wide(logits).new_zeros(samples, rows)
    scratch = None
    for block in _blocks(logits, samples):
        if scratch is None:  # the first block is the largest
            scratch = logits.new_empty(BUFFERS * _largest(block) // WORDS, dtype=torch.int64)
        part = logits[block.rows, block.positions]
        out = symbols[:, block.rows, block.positions]
        sums = log_probs[:, block.rows]
        draw = _draw_bernoulli if logits.dim() == 2 else _draw_categorical
        draw(part, block, stream, scratch, out, sums)
    return symbols, log_probs


def log_prob(logits: Tensor, symbols: Tensor) -> Tensor:
    """Log g of given symbols, [M, B]."""
    samples, rows, _ = symbols.shape
    log_probs = wide(logits).new_zeros(samples, rows)
    for block in _blocks(logits, samples):
        part = wide(logits[block.rows, block.positions])
        if logits.dim() == 2:
            likely, magnitude, base = _bernoulli(part)
            base = base.sum(-1)
        else:
            normalised = part.log_softmax(-1)
        for each in block.samples:
            given = symbols[each, block.rows, block.positions]
            if logits.dim() == 2:
                lost = torch.where((given != 0) != likely, magnitude, 0)
                log_probs[each, block.rows] += base - lost.sum(-1)
            else:
                log_probs[each, block.rows] += chosen(normalised, given)
    return log_probs


def score(logits: Tensor, symbols: Tensor, incoming: Tensor) -> Tensor:
    """Σ_m g_m ∂ log g^(m) / ∂ℓ of the logits' shape, strides and dtype; g = `incoming` [M, B]."""
    gradient = torch.empty_like(logits)
    weights = incoming.to(wide(logits).dtype)
    for block in _blocks(logits, symbols.shape[0]):
        part = wide(logits[block.rows, block.positions])
        shares = weights[:, block.rows]
        given = symbols[:, block.rows, block.positions]
        add = _score_bernoulli if logits.dim() == 2 else _score_categorical
        gradient[block.rows, block.positions] = add(part, given, shares, block.samples)
    return gradient


# --- Bernoulli -----------------------------------------------------------------------------------


def _bernoulli(logits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Whether 1 is the likelier value, |ℓ|, and the log-probability of the likelier value.

    log g = −Σ [sp(−|ℓ|) + |ℓ|·1(the unlikelier value)]: all terms of one sign, nothing cancels.
    """
    magnitude = logits.abs()
    return logits > 0, magnitude, F.logsigmoid(magnitude)


def _draw_bernoulli(
    part: Tensor, block: _Block, stream: Stream, scratch: Tensor, symbols: Tensor, log_probs: Tensor
) -> None:
    likely, magnitude, base = _bernoulli(wide(part))
    base = base.sum(-1)
    total = unlikely_bernoulli(part.float().abs()).long().add_(1 << BERNOULLI_BITS)  # [b, p]
    # Where |ℓ| is inf the unlikelier value is never drawn: 0 · inf is 0 here.
    finite = torch.where(magnitude.isinf(), 0, magnitude)
    for each in block.samples:
        targets = _targets(total, block, each, stream, scratch)
        # 1 where the unlikelier value is drawn.
        lost = torch.ge(targets, 1 << BERNOULLI_BITS, out=targets)
        torch.bitwise_xor(lost.to(torch.uint8), likely.to(torch.uint8), out=symbols[each])
        in_scratch: Tensor = _view(scratch, base.dtype, lost.shape)
        log_probs[each] += base - in_scratch.copy_(lost).mul_(finite).sum(-1)


def _score_bernoulli(
    logits: Tensor, symbols: Tensor, weights: Tensor, samples: list[slice]
) -> Tensor:
    # s − σ(ℓ) is σ(−|ℓ|) − d where 1 is likelier and d − σ(−|ℓ|) elsewhere, d being 1 for the
    # unlikelier value: small numbers, that 1 − σ would round away.
    likely = (logits > 0).to(symbols.dtype)
    gradient = (-logits.abs()).sigmoid_().mul_(weights.sum(0)[:, None])
    for each in samples:
        unlikelier = ((symbols[each] != 0).to(symbols.dtype) ^ likely).to(logits.dtype)
        gradient.sub_(unlikelier.mul_(weights[each, :, None]).sum(0))
    return torch.where(logits > 0, gradient, gradient.neg())


# --- categorical ---------------------------------------------------------------------------------


def _draw_categorical(
    part: Tensor, block: _Block, stream: Stream, scratch: Tensor, symbols: Tensor, log_probs: Tensor
) -> None:
    categories = part.shape[2]
    search = categories > COUNTED
    if search:
        cumulative = cumulative_categorical(_copy(part), -1)
        total = cumulative[..., -1].long()
    else:  # what runs over categories runs over rows of positions: [V, b, p]
        cumulative = cumulative_categorical(_copy(part.permute(2, 0, 1)), 0)
        total = cumulative[-1].long()
    normalised = wide(part).log_softmax(-1)
    for each in block.samples:
        targets = _targets(total, block, each, stream, scratch)
        drawn = _searched(cumulative, targets) if search else _counted(cumulative, targets, scratch)
        symbols[each] = drawn
        log_probs[each] += chosen(normalised, symbols[each])


def _copy(logits: Tensor) -> Tensor:
    """A contiguous copy in fp32."""
    return torch.empty(logits.shape, dtype=torch.float32, device=logits.device).copy_(logits)


def _counted(cumulative: Tensor, targets: Tensor, scratch: Tensor) -> Tensor:
    """How many of C [V, b, p] are no more than each target [m, b, p]; int32, in `scratch`."""
    pair = _view(scratch, torch.int32, (2, *targets.shape))
    reached, drawn = pair[0], pair[1].zero_()
    for each in cumulative.unbind(0)[:-1]:  # the target is below the last
        # As a number: a comparison that gives bool takes three times as long.
        drawn.add_(torch.le(each, targets, out=reached))
    return drawn


def _searched(cumulative: Tensor, targets: Tensor) -> Tensor:
    """The same with C [b, p, V]."""
    values = targets.permute(1, 2, 0).contiguous()
    found = torch.searchsorted(cumulative, values, right=True, out_int32=True)
    # Without a distribution the total is 0, and the target not below it.
    return found.clamp_(max=cumulative.shape[-1] - 1).permute(2, 0, 1)


def _score_categorical(
    logits: Tensor, symbols: Tensor, weights: Tensor, samples: list[slice]
) -> Tensor:
    gradient = logits.softmax(-1).mul_(-weights.sum(0)[:, None, None])
    on_cpu = logits.device.type == "cpu"
    for each in samples if on_cpu else [slice(m, m + 1) for m in range(symbols.shape[0])]:
        # On a GPU additions to one place are in no fixed order: there, one sample at a time.
        index = by_position(symbols[each])  # [b, p, m]
        source = weights[each].t()[:, None].expand(index.shape)
        gradient.scatter_add_(-1, index, source)
    return gradient


# --- blocks --------------------------------------------------------------------------------------


def _blocks(logits: Tensor, samples: int) -> Iterator[_Block]:
    """Ranges of rows, positions and samples that cover everything, in a fixed order."""
    rows, positions = logits.shape[:2]
    if rows == 0 or positions == 0:
        return
    categories = logits.shape[2] if logits.dim() == 3 else 1
    most = BLOCK.get(logits.device.type, BLOCK_ELSEWHERE)
    # Few samples of many positions: what is prepared for a position serves all samples.
    at_once = max(most // max(categories, 2 * WORDS), 1)
    at_once = min(at_once, rows * positions)
    samples_each = min(_up(samples), max(most // at_once // WORDS, 1) * WORDS)
    positions_each = min(at_once, positions)
    rows_each = max(at_once // positions, 1)
    of_samples = [
        slice(first, min(first + samples_each, samples))
        for first in range(0, samples, samples_each)
    ]
    for row in range(0, rows, rows_each):
        for position in range(0, positions, positions_each):
            yield _Block(
                slice(row, min(row + rows_each, rows)),
                slice(position, min(position + positions_each, positions)),
                of_samples,
            )


def _up(samples: int) -> int:
    return -(-samples // WORDS) * WORDS


def _largest(block: _Block) -> int:
    """Random words that a block needs at a time."""
    of_samples = block.samples[0]
    rows = block.rows.stop - block.rows.start
    positions = block.positions.stop - block.positions.start
    return int(rows * positions * _up(of_samples.stop - of_samples.start))


def _targets(
    total: Tensor, block: _Block, samples: slice, stream: Stream, scratch: Tensor
) -> Tensor:
    """⌊u·total / 2^32⌋ for the samples of a block, [m, b, p], int32; `total` [b, p] is int64.

    At the end of `scratch`: behind the words, where `words` leaves two buffers.
    """
    device = total.device
    groups = _range(slice(samples.start // WORDS, _up(samples.stop) // WORDS), device)
    drawn = words(
        _range(block.positions, device),
        _range(block.rows, device)[:, None],
        groups[:, None, None],
        stream,
        _view(scratch, torch.int64, (BUFFERS, len(groups), *total.shape)),
        total,
    )
    targets = scratch.view(torch.int32)[-WORDS * len(groups) * total.numel() :]
    targets = targets.view(len(groups), WORDS, *total.shape)
    for word, each in enumerate(drawn):
        targets[:, word] = each.view(torch.int32)[..., _HIGH::2]
    return targets.flatten(0, 1)[: samples.stop - samples.start]


def _view(scratch: Tensor, dtype: torch.dtype, shape: tuple[int, ...]) -> Tensor:
    """The beginning of the scratch memory as a tensor of that dtype and shape."""
    flat: Tensor = scratch.view(dtype)
    return flat[: math.prod(shape)].view(shape)


def _range(of: slice, device: torch.device) -> Tensor:
    return torch.arange(of.start, of.stop, device=device)
