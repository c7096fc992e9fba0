"""The kernels of `launch.normalisation`.

A channels_last image [N, C, H, W] is a matrix [M, C] with M = N·H·W. Every kernel works on tiles of
it, with arithmetic in fp32 (fp64 for fp64). Sums over rows are private to a program and added up in
a fixed order by a second kernel: no atomics, the same bits on every run and every GPU.

Only C and the tile are constants of a kernel; M is read at run time, so that one compilation
serves every batch and image size. Offsets of tiles are int64, those within a tile int32.
"""

# Triton compiles these functions: their arguments are pointers and constants, not Python values.
# mypy: disable-error-code="no-untyped-def, untyped-decorator"

import triton
import triton.language as tl

from ..activations import NEGATIVE_SLOPE
from .device import activated

_SLOPE = tl.constexpr(NEGATIVE_SLOPE)

# `do_not_specialize` below: rows are any number. Were the compiler told that one is 1 or a multiple
# of 16, another batch size would be another compilation.


@triton.jit
def activation_backward(g, v, ACTIVATION: tl.constexpr):
    """g·activation′(v)."""
    if ACTIVATION == "relu":
        g = tl.where(v <= 0, 0.0, g)
    elif ACTIVATION == "leaky_relu":
        g = tl.where(v > 0, g, g * _SLOPE)
    elif ACTIVATION == "sigmoid":
        z = activated(v, ACTIVATION)
        g = g * z * (1 - z)
    elif ACTIVATION == "tanh":
        z = activated(v, ACTIVATION)
        g = g * (1 - z * z)
    return g


@triton.jit
def output_backward(g, z, ACTIVATION: tl.constexpr):
    """g·activation′(v) in terms of z = activation(v), which determines it for each of them."""
    if ACTIVATION == "sigmoid":
        g = g * z * (1 - z)
    elif ACTIVATION == "tanh":
        g = g * (1 - z * z)
    else:  # z has the sign of v
        g = activation_backward(g, z, ACTIVATION)
    return g


@triton.jit(do_not_specialize=["rows"])
def apply_kernel(
    y, z, scale, shift, rows,
    C: tl.constexpr, ACTIVATION: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """Apply: z = activation(scale·y + shift)."""
    ACC: tl.constexpr = scale.dtype.element_ty
    first = tl.program_id(0).to(tl.int64) * BLOCK_M
    column = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    row = tl.arange(0, BLOCK_M)
    offset = row[:, None] * C + column[None, :]
    inside = (first + row < rows)[:, None] & (column < C)[None, :]
    s = tl.load(scale + column, mask=column < C, other=0.0)
    t = tl.load(shift + column, mask=column < C, other=0.0)
    v = tl.load(y + first * C + offset, mask=inside, other=0.0).to(ACC)
    v = activated(v * s[None, :] + t[None, :], ACTIVATION)
    tl.store(z + first * C + offset, v.to(z.dtype.element_ty), mask=inside)


@triton.jit(do_not_specialize=["rows", "rows_each"])
def moments_kernel(
    y, counts, means, m2s, rows, rows_each,
    C: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """Count, mean and M2 of `rows_each` rows: row p of `counts`, `means` and `m2s`."""
    ACC: tl.constexpr = means.dtype.element_ty
    first = tl.program_id(0).to(tl.int64) * rows_each
    last = tl.minimum(first + rows_each, rows)
    column = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    row = tl.arange(0, BLOCK_M)
    offset = row[:, None] * C + column[None, :]
    mean = tl.zeros([BLOCK_C], ACC)
    m2 = tl.zeros([BLOCK_C], ACC)
    for start in range(first, last, BLOCK_M):
        inside = (start + row < last)[:, None] & (column < C)[None, :]
        v = tl.load(y + start * C + offset, mask=inside, other=0.0).to(ACC)
        n = tl.minimum(last - start, BLOCK_M).to(ACC)
        seen = (start - first).to(ACC)
        tile_mean = tl.sum(v, 0) / n
        deviation = tl.where(inside, v - tile_mean[None, :], 0.0)
        # Chan's formula, as in `statistics`, a tile after the other.
        difference = tile_mean - mean
        total = seen + n
        mean += difference * (n / total)
        m2 += tl.sum(deviation * deviation, 0) + difference * difference * (seen * n / total)
    at = tl.program_id(0) * C + column
    tl.store(means + at, mean, mask=column < C)
    tl.store(m2s + at, m2, mask=column < C)
    tl.store(counts + tl.program_id(0), (last - first).to(ACC))


@triton.jit(do_not_specialize=["count"])
def coefficients_kernel(
    mean, m2, weight, bias, running_mean, running_var, batches,
    scale, shift, rstd_out, count, momentum, eps,
    C: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """scale, shift and r of the batch; the running statistics move on."""
    ACC: tl.constexpr = mean.dtype.element_ty
    column = tl.program_id(0) * BLOCK_C + tl.arange(0, BLOCK_C)
    inside = column < C
    n = count.to(ACC)
    mu = tl.load(mean + column, mask=inside, other=0.0)
    squares = tl.load(m2 + column, mask=inside, other=0.0)
    rstd = 1 / tl.sqrt(squares / n + eps)
    s = rstd
    if weight is not None:
        s = s * tl.load(weight + column, mask=inside, other=0.0).to(ACC)
    t = -mu * s
    if bias is not None:
        t += tl.load(bias + column, mask=inside, other=0.0).to(ACC)
    tl.store(scale + column, s, mask=inside)
    tl.store(shift + column, t, mask=inside)
    tl.store(rstd_out + column, rstd, mask=inside)
    if running_mean is not None:
        share = momentum
        if batches is not None:
            share = 1 / tl.load(batches).to(ACC)
        old = tl.load(running_mean + column, mask=inside, other=0.0).to(ACC)
        new = old * (1 - share) + mu * share
        tl.store(running_mean + column, new.to(running_mean.dtype.element_ty), mask=inside)
        old = tl.load(running_var + column, mask=inside, other=0.0).to(ACC)
        new = old * (1 - share) + squares / (n - 1) * share
        tl.store(running_var + column, new.to(running_var.dtype.element_ty), mask=inside)


@triton.jit(do_not_specialize=["rows", "rows_each"])
def backward_sums_kernel(
    g, y, scale, shift, mean, rstd, sums, rows, rows_each,
    C: tl.constexpr, ACTIVATION: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """Σu and Σu·x̂ of `rows_each` rows: `sums` [P, 2, C]."""
    ACC: tl.constexpr = sums.dtype.element_ty
    first = tl.program_id(0).to(tl.int64) * rows_each
    last = tl.minimum(first + rows_each, rows)
    column = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    row = tl.arange(0, BLOCK_M)
    offset = row[:, None] * C + column[None, :]
    s = tl.load(scale + column, mask=column < C, other=0.0)[None, :]
    t = tl.load(shift + column, mask=column < C, other=0.0)[None, :]
    mu = tl.load(mean + column, mask=column < C, other=0.0)[None, :]
    r = tl.load(rstd + column, mask=column < C, other=0.0)[None, :]
    # Added up by element, across rows only at the end.
    sum_u = tl.zeros([BLOCK_M, BLOCK_C], ACC)
    sum_ux = tl.zeros([BLOCK_M, BLOCK_C], ACC)
    for start in range(first, last, BLOCK_M):
        inside = (start + row < last)[:, None] & (column < C)[None, :]
        v = tl.load(y + start * C + offset, mask=inside, other=0.0).to(ACC)
        u = tl.load(g + start * C + offset, mask=inside, other=0.0).to(ACC)
        u = activation_backward(u, v * s + t, ACTIVATION)
        sum_u += u
        sum_ux += tl.where(inside, u * ((v - mu) * r), 0.0)
    at = tl.program_id(0) * 2 * C + column
    tl.store(sums + at, tl.sum(sum_u, 0), mask=column < C)
    tl.store(sums + at + C, tl.sum(sum_ux, 0), mask=column < C)


@triton.jit(do_not_specialize=["partials"])
def merge_sums_kernel(
    sums, totals, partials, WIDTH: tl.constexpr, BLOCK_P: tl.constexpr, BLOCK_C: tl.constexpr
):
    """`totals` [WIDTH] = the sum over the first dimension of `sums` [P, WIDTH], in its order."""
    ACC: tl.constexpr = sums.dtype.element_ty
    column = tl.program_id(0) * BLOCK_C + tl.arange(0, BLOCK_C)
    each = tl.arange(0, BLOCK_P)
    total = tl.zeros([BLOCK_P, BLOCK_C], ACC)
    for start in range(0, partials, BLOCK_P):
        p = start + each
        inside = (p < partials)[:, None] & (column < WIDTH)[None, :]
        total += tl.load(sums + p[:, None] * WIDTH + column[None, :], mask=inside, other=0.0)
    tl.store(totals + column, tl.sum(total, 0), mask=column < WIDTH)


@triton.jit(do_not_specialize=["rows"])
def backward_apply_kernel(
    g, y, dy, scale, shift, mean, rstd, totals, rows,
    C: tl.constexpr, ACTIVATION: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """Backward: dy = scale·(u − Σu/n − x̂·Σu·x̂/n)."""
    ACC: tl.constexpr = totals.dtype.element_ty
    first = tl.program_id(0).to(tl.int64) * BLOCK_M
    column = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    row = tl.arange(0, BLOCK_M)
    offset = row[:, None] * C + column[None, :]
    inside = (first + row < rows)[:, None] & (column < C)[None, :]
    s = tl.load(scale + column, mask=column < C, other=0.0)[None, :]
    t = tl.load(shift + column, mask=column < C, other=0.0)[None, :]
    mu = tl.load(mean + column, mask=column < C, other=0.0)[None, :]
    r = tl.load(rstd + column, mask=column < C, other=0.0)[None, :]
    n = rows.to(ACC)
    mean_u = tl.load(totals + column, mask=column < C, other=0.0)[None, :] / n
    mean_ux = tl.load(totals + C + column, mask=column < C, other=0.0)[None, :] / n
    v = tl.load(y + first * C + offset, mask=inside, other=0.0).to(ACC)
    u = tl.load(g + first * C + offset, mask=inside, other=0.0).to(ACC)
    u = activation_backward(u, v * s + t, ACTIVATION)
    result = s * (u - mean_u - (v - mu) * r * mean_ux)
    tl.store(dy + first * C + offset, result.to(dy.dtype.element_ty), mask=inside)


@triton.jit(do_not_specialize=["rows", "rows_each"])
def output_backward_kernel(
    g, z, dv, sums, rows, rows_each,
    C: tl.constexpr, ACTIVATION: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """Backward of an epilogue: dv = g·activation′(v), from z, and Σdv: `sums` [P, C]."""
    ACC: tl.constexpr = sums.dtype.element_ty
    first = tl.program_id(0).to(tl.int64) * rows_each
    last = tl.minimum(first + rows_each, rows)
    column = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    row = tl.arange(0, BLOCK_M)
    offset = row[:, None] * C + column[None, :]
    total = tl.zeros([BLOCK_M, BLOCK_C], ACC)
    for start in range(first, last, BLOCK_M):
        inside = (start + row < last)[:, None] & (column < C)[None, :]
        u = tl.load(g + start * C + offset, mask=inside, other=0.0).to(ACC)
        v = tl.load(z + start * C + offset, mask=inside, other=0.0).to(ACC)
        u = output_backward(u, v, ACTIVATION)
        total += u
        tl.store(dv + start * C + offset, u.to(dv.dtype.element_ty), mask=inside)
    at = tl.program_id(0) * C + column
    tl.store(sums + at, tl.sum(total, 0), mask=column < C)
