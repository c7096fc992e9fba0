"""Partial statistics of many tiles made one, in Triton.

Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for computing sample
variances", 1979, equation 2.1: for two parts with counts n₁, n₂, means and sums of squared
deviations M2,

    mean = mean₁ + δ·n₂/n,    M2 = M2₁ + M2₂ + δ²·n₁n₂/n,    δ = mean₂ − mean₁, n = n₁ + n₂.
"""

# Triton compiles these functions: their arguments are pointers and constants, not Python values.
# mypy: disable-error-code="no-untyped-def, untyped-decorator"

import triton
import triton.language as tl


@triton.jit(do_not_specialize=("rows", "per_split"))
def combine_statistics_kernel(
    counts, means, m2s, out_counts, out_means, out_m2s, rows, per_split,
    C: tl.constexpr, BLOCK_R: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """Combine `per_split` rows of [rows, C] into one. Grid: ⌈C/BLOCK_C⌉, splits.

    A block of rows is combined in two passes over registers, blocks one after the other by the
    formula above: the order is fixed, so results repeat bit for bit.
    """
    columns = tl.program_id(0) * BLOCK_C + tl.arange(0, BLOCK_C)
    column_inside = columns < C
    split = tl.program_id(1)
    start = split * per_split
    stop = tl.minimum(start + per_split, rows)
    count = tl.zeros((), dtype=counts.dtype.element_ty)
    mean = tl.zeros((BLOCK_C,), dtype=means.dtype.element_ty)
    m2 = tl.zeros((BLOCK_C,), dtype=means.dtype.element_ty)
    for first in range(start, stop, BLOCK_R):
        r = first + tl.arange(0, BLOCK_R)
        row_inside = r < stop
        mask = row_inside[:, None] & column_inside[None, :]
        places = r[:, None] * C + columns[None, :]
        n = tl.load(counts + r, mask=row_inside, other=0.0)
        part_means = tl.load(means + places, mask=mask, other=0.0)
        part_m2s = tl.load(m2s + places, mask=mask, other=0.0)
        block_count = tl.sum(n, axis=0)
        block_divisor = tl.maximum(block_count, 1.0)
        # Deviations from the first row's mean, not the values: sums of large means would round.
        origin = tl.load(means + first * C + columns, mask=column_inside, other=0.0)
        shifted = tl.where(n[:, None] > 0, part_means - origin[None, :], 0.0)
        block_shift = tl.sum(n[:, None] * shifted, axis=0) / block_divisor
        deviation = tl.where(n[:, None] > 0, shifted - block_shift[None, :], 0.0)
        block_m2 = tl.sum(part_m2s + n[:, None] * deviation * deviation, axis=0)
        block_mean = origin + block_shift
        total = count + block_count
        share = block_count / tl.maximum(total, 1.0)
        delta = block_mean - mean
        mean += delta * share
        m2 += block_m2 + delta * delta * count * share
        count = total
    tl.store(out_means + split * C + columns, mean, mask=column_inside)
    tl.store(out_m2s + split * C + columns, m2, mask=column_inside)
    tl.store(out_counts + split, count)
