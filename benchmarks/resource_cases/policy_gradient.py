"""Sampling, log-probabilities and their gradient: for few and many categories, and Bernoullis."""

from __future__ import annotations

from benchmarks.offline import Case
from kernels.policy_gradient import tiles, triton
from kernels.policy_gradient.fixed_point import MOST_IN_A_BYTE, estimate_bits

# The widths of a tile; numbers of categories in between run the same code. More than the last but
# one go over the categories a tile at a time, and run the same code but for `estimate_bits`.
_CATEGORIES = (2, 4, 8, 16, 32, 64, 128, 256, 3000)
_NARROW = (
    triton.sample_categorical_kernel,
    triton.log_prob_categorical_kernel,
    triton.score_categorical_kernel,
)
_WIDE = (triton.sample_wide_kernel, triton.log_prob_wide_kernel, triton.score_wide_kernel)
_DTYPES = ("fp32", "bf16", "fp16")
# More than any tile has.
_MANY_POSITIONS = 1 << 20
_SEED = ("seed_low", "seed_high", "offset")
_SIZES = ("rows", "positions", "categories", "samples", "tiles")


def cases() -> list[Case]:
    """Every kernel: each width of a tile in fp32, each dtype at 16, both kinds of seed at 2."""
    found = []
    for categories in _CATEGORIES:
        found += _categorical(categories, "fp32")
    for dtype in _DTYPES[1:]:
        found += _categorical(16, dtype)
    for dtype in _DTYPES:
        found += _bernoulli(dtype)
    return found


def _categorical(categories: int, dtype: str) -> list[Case]:
    tile = tiles.tiling(_MANY_POSITIONS, categories)
    sample, log_prob, score = _WIDE if tiles.is_wide(categories) else _NARROW
    bits = {"ESTIMATE_BITS": estimate_bits(categories)} if tiles.is_wide(categories) else {}
    drawn = "*u8" if categories <= MOST_IN_A_BYTE else "*i32"
    found = []
    # As [B, …, V] and as [B, V, …]: the unit stride is a constant, as the launcher makes it.
    for layout, unit in (("last", "stride_v"), ("first", "stride_p")):
        name = f"{layout} V={categories} {dtype}"
        strides = tuple(f"stride_{each}" for each in "bpv" if f"stride_{each}" != unit)
        constants = {unit: 1, "BLOCK_P": tile.positions, "BLOCK_V": tile.categories}
        gradient_unit = unit.replace("stride", "grad")
        gradient = tuple(each.replace("stride", "grad") for each in strides)
        found += [
            *_samples(name, sample, dtype, _SIZES, strides, constants | bits, drawn)[
                : 2 if categories == _CATEGORIES[0] else 1
            ],
            _case(
                f"log_prob {name}",
                log_prob,
                {"logits": f"*{dtype}", "symbols": drawn, "partials": "*fp32"},
                (*_SIZES, "samples_each", *strides),
                constants,
            ),
            _case(
                f"score {name}",
                score,
                _gradient_pointers(dtype, drawn),
                (*_SIZES, *strides, *gradient),
                {**constants, gradient_unit: 1},
            ),
        ]
    return found


def _bernoulli(dtype: str) -> list[Case]:
    sizes = tuple(each for each in _SIZES if each != "categories")
    constants = {"stride_p": 1, "BLOCK_P": tiles.bernoulli_block(_MANY_POSITIONS)}
    name = f"bernoulli {dtype}"
    strides = ("stride_b",)
    return [
        *_samples(name, triton.sample_bernoulli_kernel, dtype, sizes, strides, constants),
        _case(
            f"log_prob {name}",
            triton.log_prob_bernoulli_kernel,
            {"logits": f"*{dtype}", "symbols": "*u8", "partials": "*fp32"},
            (*sizes, "samples_each", *strides),
            constants,
        ),
        _case(
            f"score {name}",
            triton.score_bernoulli_kernel,
            _gradient_pointers(dtype),
            (*sizes, *strides, "grad_b"),
            {**constants, "grad_p": 1},
        ),
    ]


def _samples(
    name: str,
    kernel: object,
    dtype: str,
    sizes: tuple[str, ...],
    strides: tuple[str, ...],
    constants: dict[str, object],
    drawn: str = "*u8",
) -> list[Case]:
    """Sampling with seed and offset as numbers, and as tensors."""
    pointers = {"logits": f"*{dtype}", "symbols": drawn, "partials": "*fp32"}
    numbers = (*_SEED, *sizes, "groups_each", *strides)
    absent: dict[str, object] = {"seed_tensor": None, "offset_tensor": None}
    on_device = {"seed_tensor": "*i64", "offset_tensor": "*i64"}
    return [
        _case(f"sample {name}", kernel, pointers, numbers, constants | absent, fp_fusion=False),
        _case(
            f"sample {name}, seed on the device",
            kernel,
            pointers | on_device,
            numbers,
            constants,
            fp_fusion=False,
        ),
    ]


def _gradient_pointers(dtype: str, drawn: str = "*u8") -> dict[str, str]:
    return {
        "logits": f"*{dtype}",
        "symbols": drawn,
        "incoming": "*fp32",
        "gradient": f"*{dtype}",
    }


def _case(
    name: str,
    kernel: object,
    pointers: dict[str, str],
    numbers: tuple[str, ...],
    constants: dict[str, object],
    fp_fusion: bool = True,
) -> Case:
    return Case(
        name,
        kernel,
        pointers | dict.fromkeys(numbers, "i32"),
        constants,
        tuple(pointers),
        num_warps=tiles.WARPS,
        fp_fusion=fp_fusion,
    )
