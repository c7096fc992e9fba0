"""The kernels around a convolution: batch normalisation and activation, forward and backward."""

from __future__ import annotations

from benchmarks.offline import Case
from kernels.conv_transpose.launch.normalisation import BLOCK_P
from kernels.conv_transpose.tiles import tiling
from kernels.conv_transpose.triton import normalisation as kernels

# DCGAN's widths, and the 3 and 1 channels of its images.
_CHANNELS = (512, 256, 128, 64, 3, 1)
_DTYPES = ("bf16", "fp16", "fp32")
_ACTIVATIONS = ("relu", "leaky_relu", "tanh", "sigmoid")
_MANY_ROWS = 1 << 20
_COEFFICIENTS = {"scale": "*fp32", "shift": "*fp32", "mean": "*fp32", "rstd": "*fp32"}


def cases() -> list[Case]:
    """Every kernel for every width and dtype, and every activation at one of the widths."""
    found = []
    for dtype in _DTYPES:
        # fp16 differs from bf16 in one conversion.
        for channels in _CHANNELS if dtype != "fp16" else (64,):
            found += _by_channels(channels, dtype)
            found += _with_activation(channels, dtype, "relu")
        for activation in _ACTIVATIONS[1:]:
            found += _with_activation(64, dtype, activation)
    return found


def _case(
    name: str, kernel: object, signature: dict[str, str], constants: dict[str, object]
) -> Case:
    # Buffers of torch begin at multiples of 512 bytes; views into one, as rows of [3, C], do not.
    whole = tuple(
        argument
        for argument, kind in signature.items()
        if kind.startswith("*") and argument not in _COEFFICIENTS
    )
    return Case(name, kernel, signature, constants, whole)


def _with_activation(channels: int, dtype: str, activation: str) -> list[Case]:
    tiles = tiling(_MANY_ROWS, channels)
    constants = {
        "C": channels,
        "ACTIVATION": activation,
        "BLOCK_M": tiles.block_m,
        "BLOCK_C": tiles.block_c,
    }
    name = f"{activation} C={channels} {dtype}"
    image, rows, rows_each = f"*{dtype}", {"rows": "i32"}, {"rows_each": "i32"}
    sums = {"sums": "*fp32"}
    scale_shift = {"scale": "*fp32", "shift": "*fp32"}
    return [
        _case(
            f"apply {name}",
            kernels.apply_kernel,
            {"y": image, "z": image, **scale_shift, **rows},
            constants,
        ),
        _case(
            f"backward sums {name}",
            kernels.backward_sums_kernel,
            {"g": image, "y": image, **_COEFFICIENTS, **sums, **rows, **rows_each},
            constants,
        ),
        _case(
            f"backward apply {name}",
            kernels.backward_apply_kernel,
            {"g": image, "y": image, "dy": image, **_COEFFICIENTS, "totals": "*fp32", **rows},
            constants,
        ),
        _case(
            f"output backward {name}",
            kernels.output_backward_kernel,
            {"g": image, "z": image, "dv": image, **sums, **rows, **rows_each},
            constants,
        ),
    ]


def _by_channels(channels: int, dtype: str) -> list[Case]:
    tiles = tiling(_MANY_ROWS, channels)
    per_channel = {"C": channels, "BLOCK_C": tiles.block_c}
    name = f"C={channels} {dtype}"
    found = [
        _case(
            f"moments {name}",
            kernels.moments_kernel,
            {
                "y": f"*{dtype}",
                **dict.fromkeys(("counts", "means", "m2s"), "*fp32"),
                **dict.fromkeys(("rows", "rows_each"), "i32"),
            },
            {**per_channel, "BLOCK_M": tiles.block_m},
        )
    ]
    if dtype != "fp32":  # what follows works on fp32 whatever the images are
        return found
    parameters = ("weight", "bias", "running_mean", "running_var")
    numbers = {"count": "i32", "momentum": "fp32", "eps": "fp32"}
    outputs = {"scale": "*fp32", "shift": "*fp32", "rstd_out": "*fp32"}
    moments = {"mean": "*fp32", "m2": "*fp32"}
    return [
        *found,
        _case(
            f"coefficients {name}",
            kernels.coefficients_kernel,
            {**moments, **dict.fromkeys(parameters, "*fp32"), **outputs, **numbers},
            {**per_channel, "batches": None},
        ),
        _case(
            f"coefficients, cumulative average, {name}",
            kernels.coefficients_kernel,
            {
                **moments,
                **dict.fromkeys(parameters, "*fp32"),
                "batches": "*i64",
                **outputs,
                **numbers,
            },
            per_channel,
        ),
        _case(
            f"merge sums {name}",
            kernels.merge_sums_kernel,
            {"sums": "*fp32", "totals": "*fp32", "partials": "i32"},
            {
                "WIDTH": 2 * channels,
                "BLOCK_P": BLOCK_P,
                "BLOCK_C": min(2 * tiles.block_c, BLOCK_P),
            },
        ),
    ]
