"""A GPU that is not there: every launch is bound, specialised and compiled, and none is run.

    python -m benchmarks.dry_device --architecture 90 [--area losses sampling] [--all]

Triton's own launcher sees a driver that knows an architecture and nothing else: what it does before
the driver would start a kernel it does here, with CPU tensors in place of CUDA ones. So an argument
of the wrong type, a kernel that does not compile for an architecture or needs more memory than it
has, a view that TMA would refuse, or a compilation at every batch size is found without a GPU.
Results are whatever was in memory: nothing here says that a kernel is right or fast.

Each area of `AREAS` runs at one batch size and at another; a line of JSON says how many launches
there were, how many compilations they took, and which kernels the second batch size compiled again.
(Losses and sampling have versions for sizes that are multiples of 16, for 1, and for others, and
convolutions other tiles for many positions: two close batches show what every batch compiles.) The
exit status is 1 if anything failed.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple
from unittest import mock

import torch
from torch import Tensor

from benchmarks.offline import ARCHITECTURES, SHARED_MEMORY
from kernels.tune import dry

# What cuTensorMapEncodeTiled takes.
_LARGEST_BOX, _ALIGNMENT, _LARGEST_STRIDE = 256, 16, 2**40
_SWIZZLE_BYTES = (16, 32, 64, 128)  # by Triton's number for it; without one, rows are not bound


class Launch(NamedTuple):
    """One launch, as the driver would have got it."""

    kernel: str
    grid: tuple[int, int, int]
    warps: int
    shared: int


class DryDriver(dry.DryDriver):
    """The driver that launches nothing, and what it was asked for.

    Attributes:
        launches: all of them, in order.
        compiled: names of the kernels that were loaded, one an entry for each specialisation.
    """

    def __init__(self, architecture: int) -> None:
        super().__init__(architecture, SHARED_MEMORY[architecture])
        self.launches: list[Launch] = []
        self.compiled: list[str] = []

    def launched(self, metadata: Any, grid: tuple[int, int, int], rest: tuple[Any, ...]) -> None:
        """Keep a launch, and check its views."""
        views = getattr(metadata, "tensordesc_meta", None) or []
        given = [each for each in rest if hasattr(each, "block_shape")]
        for view, described in zip(given, views, strict=True):
            check_view(view, described)
        self.launches.append(Launch(metadata.name, grid, metadata.num_warps, metadata.shared))

    def load_binary(self, name: str, *_: object) -> tuple[int, int, int, int, int]:
        """In place of loading machine code: as if it needed nothing."""
        self.compiled.append(name)
        return super().load_binary(name)


def check_view(view: Any, described: dict[str, Any]) -> None:
    """Raise ValueError where cuTensorMapEncodeTiled would refuse a view of a tensor.

    Args:
        view: a `TensorDescriptor`.
        described: what the compiled kernel says of it: the box and the swizzle.
    """
    size = view.base.element_size()
    box = described["block_size"]
    if view.base.data_ptr() % _ALIGNMENT:
        raise ValueError(f"a view that does not start at a multiple of {_ALIGNMENT} bytes")
    if not all(0 < extent <= 2**32 for extent in view.shape):
        raise ValueError(f"a view of shape {view.shape}")
    if any(stride * size % _ALIGNMENT or stride * size >= _LARGEST_STRIDE
           for stride in view.strides[:-1]):  # fmt: skip
        raise ValueError(f"a view with strides of {view.strides} elements")
    if not all(0 < extent <= _LARGEST_BOX for extent in box) or box[-1] * size % _ALIGNMENT:
        raise ValueError(f"a box of {box} elements of {size} bytes")
    swizzle = described["swizzle"]
    if swizzle and box[-1] * size > _SWIZZLE_BYTES[swizzle]:
        raise ValueError(f"a box of {box} elements, {_SWIZZLE_BYTES[swizzle]} bytes swizzled")


@contextlib.contextmanager
def installed(architecture: int) -> Iterator[DryDriver]:
    """Have every launch of this process go to a GPU of `architecture` that is not there.

    `impl="triton"` reaches the kernels on CPU tensors, and tiles are chosen as on that GPU. Triton
    stays with the last such GPU afterwards: without a real one there is none to go back to.

    Raises:
        RuntimeError: Triton's interpreter is on, under which nothing is compiled.
    """
    from kernels import dispatch
    from kernels.conv_transpose import tiles
    from kernels.conv_transpose.launch import products

    driver = DryDriver(architecture)
    dry.install(driver)
    with contextlib.ExitStack() as patches:
        for module, name, stand_in in (
            (dispatch, "_why_not_on", lambda device, request: None),
            (tiles, "architecture_of", lambda device: architecture),
            (products, "_processors", lambda device: dry.PROCESSORS),
        ):
            patches.enter_context(mock.patch.object(module, name, stand_in))
        yield driver


# --- what is launched ---

Call = tuple[str, Callable[[int], object]]  # its name, and the call for a batch size


def losses(everything: bool) -> Iterator[Call]:
    """Losses of both players, forward and backward, with statistics and without."""
    from kernels import discriminator_loss, generator_loss
    from kernels.losses.definitions import DIVERGENCES

    def discriminator(loss: str, dtype: torch.dtype, **options: Any) -> Callable[[int], object]:
        def call(batch: int) -> None:
            real, fake = (_leaf(batch, dtype=dtype) for _ in range(2))
            found = discriminator_loss(real, fake, loss, impl="triton", **options)
            _backward(found[0] if isinstance(found, tuple) else found)

        return call

    def generator(loss: str, **options: Any) -> Callable[[int], object]:
        def call(batch: int) -> None:
            real = _leaf(batch) if loss == "relativistic" else None
            _backward(generator_loss(_leaf(batch), loss, impl="triton", real_logits=real,
                                     **options))  # fmt: skip

        return call

    others = ("least_squares", "hinge", "wasserstein", "relativistic")
    kinds = (*DIVERGENCES, *others) if everything else ("gan", "hinge")
    for loss in kinds:
        yield f"discriminator {loss}", discriminator(loss, torch.float32)
    yield "discriminator statistics", discriminator("gan", torch.bfloat16, return_statistics=True)
    many = discriminator("gan", torch.float32)
    yield "discriminator many logits", lambda batch: many(2000 * batch)
    sides = ("saturating", "non_saturating", "boundary_seeking", *others)
    for loss in sides if everything else ("non_saturating",):
        yield f"generator {loss}", generator(loss)


def sampling(everything: bool) -> Iterator[Call]:
    """Samples, their log-probabilities and the score, of each sort of distribution."""
    from kernels import log_prob, sample_bernoulli, sample_categorical

    def bernoulli(batch: int) -> None:
        logits = _leaf(batch, 40)
        sample_bernoulli(logits, 8, 1, impl="triton")
        symbols = torch.zeros(8, batch, 40, dtype=torch.uint8)
        _backward(log_prob(logits, symbols, impl="triton").sum())

    def categorical(categories: int, dtype: torch.dtype) -> Callable[[int], object]:
        def call(batch: int) -> None:
            logits = _leaf(batch, 40, categories, dtype=dtype)
            sample_categorical(logits, 8, 1, impl="triton")
            symbols = torch.zeros(8, batch, 40, dtype=torch.int16)
            _backward(log_prob(logits, symbols, impl="triton").sum())

        return call

    yield "bernoulli", bernoulli
    yield "categorical of 27", categorical(27, torch.float32)
    if everything:
        yield "categorical of 256, bf16", categorical(256, torch.bfloat16)
    yield "categorical of 5000", categorical(5000, torch.float32)


def convolutions(everything: bool) -> Iterator[Call]:
    """The three products on images of several forms, every dtype, by boxes and by pointers."""
    from kernels import conv2d, conv_transpose2d

    def layer(
        b: int, a: int, side: int, dtype: torch.dtype, activation: str | None
    ) -> Callable[[int], object]:
        def call(batch: int) -> None:
            y, weight = _image(batch, b, side, side, dtype=dtype), _image(b, a, 4, 4, dtype=dtype)
            bias = _leaf(a, dtype=dtype)
            x = conv_transpose2d(y, weight, bias, activation=activation, impl="triton")
            back = conv2d(x, weight, None, activation=activation, impl="triton")
            _backward(back.sum())

        return call

    bf16 = torch.bfloat16
    yield "128 and 64 channels, bf16", layer(128, 64, 8, bf16, "relu")
    yield "64 and 3 channels, bf16", layer(64, 3, 8, bf16, "tanh")
    if everything:
        yield "512 and 256 channels, fp16", layer(512, 256, 4, torch.float16, None)
        yield "256 and 128 channels, bf16", layer(256, 128, 16, bf16, "leaky_relu")
        yield "odd channels, bf16", layer(33, 17, 7, bf16, "sigmoid")
        yield "64 and 32 channels, fp32", layer(64, 32, 5, torch.float32, "tanh")


def blocks(everything: bool) -> Iterator[Call]:
    """A generator's blocks in training, the normalisation in a pass of its own, and folded."""
    from kernels import ConvBlock, ConvTransposeBlock, FusedSequential
    from kernels.conv_transpose.autograd import layers

    def network(folding: bool, kind: Any, channels: tuple[int, ...]) -> Callable[[int], object]:
        chain = FusedSequential(
            *(kind(i, o, norm="batch", impl="triton") for i, o in itertools.pairwise(channels))
        )
        chain = chain.bfloat16().to(memory_format=torch.channels_last)

        def call(batch: int) -> None:
            with mock.patch.object(layers, "_folds", return_value=folding):
                _backward(chain(_image(batch, channels[0], 8, 8, dtype=torch.bfloat16)).sum())

        return call

    yield "transposed", network(False, ConvTransposeBlock, (128, 64, 64))
    if everything:
        yield "transposed, folded", network(True, ConvTransposeBlock, (128, 64, 64))
        yield "direct", network(False, ConvBlock, (64, 64, 128))
        yield "direct, folded", network(True, ConvBlock, (64, 64, 128))


AREAS: dict[str, Callable[[bool], Iterator[Call]]] = {
    "losses": losses,
    "sampling": sampling,
    "convolutions": convolutions,
    "blocks": blocks,
}


def _leaf(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.zeros(shape, dtype=dtype, requires_grad=True)


def _image(*shape: int, dtype: torch.dtype) -> Tensor:
    image = torch.zeros(shape, dtype=dtype).contiguous(memory_format=torch.channels_last)
    return image.requires_grad_()


def _backward(result: Tensor) -> None:
    result.backward()  # type: ignore[no-untyped-call]


def run(dry: DryDriver, area: str, everything: bool, batches: tuple[int, int]) -> dict[str, Any]:
    """One row: launches, compilations and what failed of an area, at the first batch size.

    And, as `compiled_again`, the kernels that the second batch size compiled.
    """
    start, failed = time.perf_counter(), {}
    compiled, again = [], []
    first = len(dry.launches)
    calls = list(AREAS[area](everything))
    for batch, found in zip(batches, (compiled, again), strict=True):
        before = len(dry.compiled)
        for name, call in calls:
            try:
                call(batch)
            except Exception:
                failed[f"{name}, batch {batch}"] = traceback.format_exc(limit=-4)
        found += dry.compiled[before:]
    return {
        "area": area,
        "architecture": dry.architecture,
        "calls": 2 * len(calls),
        "launches": len(dry.launches) - first,
        "kernels": sorted({launch.kernel for launch in dry.launches[first:]}),
        "compiled": len(compiled),
        "compiled_again": again,
        "failed": failed,
        "seconds": round(time.perf_counter() - start, 1),
    }


def main(arguments: list[str] | None = None) -> int:
    """Entry point. Returns 1 if anything failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--architecture", nargs="+", type=int, choices=ARCHITECTURES, default=[90])
    parser.add_argument("--area", nargs="+", choices=tuple(AREAS), default=list(AREAS))
    parser.add_argument("--batch", nargs=2, type=int, default=[20, 23])
    parser.add_argument("--all", action="store_true", help="every case of each area")
    options = parser.parse_args(arguments)
    rows = []
    for architecture in options.architecture:
        with installed(architecture) as dry:
            for area in options.area:
                rows.append(run(dry, area, options.all, tuple(options.batch)))
                print(json.dumps(rows[-1]), flush=True)
    return 1 if any(row["failed"] for row in rows) else 0


if __name__ == "__main__":
    os.environ.pop("TRITON_INTERPRET", None)  # read when a kernel is decorated
    sys.exit(main())
