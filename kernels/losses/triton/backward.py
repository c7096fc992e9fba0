"""Gradients of the logits."""

# Device functions are typed by the compiler, at each use.
# mypy: disable-error-code="no-untyped-def, untyped-decorator"

import triton
import triton.language as tl

from .curves import curve_slope


@triton.jit
def _slope(
    x,
    weights,
    incoming,
    offsets,
    mask,
    factor,
    linear,
    CURVE: tl.constexpr,
    PER_SAMPLE: tl.constexpr,
):
    """The product: incoming · factor · (slope of the curve at x + linear) · weight."""
    if PER_SAMPLE:
        gradient = tl.load(incoming + offsets, mask=mask, other=0.0) * factor
    else:
        gradient = tl.load(incoming) * factor
    slope = curve_slope(x, CURVE)
    if linear is not None:
        slope += linear
    gradient = gradient * slope
    if weights is not None:
        gradient *= tl.load(weights + offsets, mask=mask, other=0.0).to(tl.float32)
    return gradient


@triton.jit
def backward_kernel(
    real,
    fake,
    real_weights,
    fake_weights,
    log_z,
    real_incoming,
    fake_incoming,
    real_gradient,
    fake_gradient,
    n_real,
    n_fake,
    real_rate,
    real_shift,
    real_factor,
    real_linear,
    fake_rate,
    fake_shift,
    fake_factor,
    fake_linear,
    REAL: tl.constexpr,
    FAKE: tl.constexpr,
    PAIRED: tl.constexpr,
    PER_SAMPLE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Gradients of BLOCK real and BLOCK generated logits a program.

    The incoming gradients are scalars, or with PER_SAMPLE one for each term; either gradient may
    be None. `real_factor` and `fake_factor` are scale·rate of the terms, over N for a mean;
    `real_linear` and `fake_linear` the factors of their linear parts, over the scale, or None.
    """
    offsets = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    if PAIRED:
        mask = offsets < n_fake
        difference = tl.load(real + offsets, mask=mask, other=0.0).to(tl.float32)
        difference -= tl.load(fake + offsets, mask=mask, other=0.0).to(tl.float32)
        x = difference * fake_rate + fake_shift
        gradient = _slope(
            x,
            fake_weights,
            fake_incoming,
            offsets,
            mask,
            fake_factor,
            fake_linear,
            FAKE,
            PER_SAMPLE,
        )
        if real_gradient is not None:
            tl.store(real_gradient + offsets, gradient, mask=mask)
        if fake_gradient is not None:
            tl.store(fake_gradient + offsets, -gradient, mask=mask)
    else:
        if real_gradient is not None:
            mask = offsets < n_real
            x = tl.load(real + offsets, mask=mask, other=0.0).to(tl.float32)
            x = x * real_rate + real_shift
            gradient = _slope(
                x,
                real_weights,
                real_incoming,
                offsets,
                mask,
                real_factor,
                real_linear,
                REAL,
                PER_SAMPLE,
            )
            tl.store(real_gradient + offsets, gradient, mask=mask)
        if fake_gradient is not None:
            mask = offsets < n_fake
            x = tl.load(fake + offsets, mask=mask, other=0.0).to(tl.float32)
            x = x * fake_rate + fake_shift
            if log_z is not None:
                x -= tl.load(log_z).to(tl.float32)
            gradient = _slope(
                x,
                fake_weights,
                fake_incoming,
                offsets,
                mask,
                fake_factor,
                fake_linear,
                FAKE,
                PER_SAMPLE,
            )
            tl.store(fake_gradient + offsets, gradient, mask=mask)
