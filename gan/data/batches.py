"""Batches straight from the prepared array: memory-mapped, or resident on the GPU if it fits."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple, Protocol

import torch
from einops import rearrange
from torch import Tensor

from gan.errors import DataError
from gan.pixels import Examples, Labels
from gan.runtime import stream_seed
from gan.symbols import symbol_tensor

# Share of the GPU memory that is free at the start which the data set may take for itself.
RESIDENT_SHARE = 0.25


class Labelled(NamedTuple):
    """A batch of examples, and the label of each, int64 `[B]`."""

    examples: Tensor
    labels: Tensor


class StaticBatch(Protocol):
    """A batch of a stream on the device, in memory that stays where it is.

    For work that is recorded once and replayed: `fill` is called before each replay, and what `get`
    did is part of the recording.
    """

    def fill(self) -> None:
        """Let the next batch of the stream be the one to get; does not wait for the device."""

    def get(self) -> Any:
        """The batch, as `Stream.next` would have given it; never the same tensor twice."""


class Stream(Protocol):
    """An endless stream of batches whose place can be saved."""

    def next(self) -> Any:
        """The next batch on the device: a tensor, or `Labelled`."""

    def static(self) -> StaticBatch:
        """Memory for one batch of this stream."""

    def state_dict(self) -> dict[str, Any]:
        """Where the stream stands, as plain numbers."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken."""


class Batches:
    """An endless stream of batches, each epoch in an order of its own.

    The order of epoch e depends on the seed and e alone, so two numbers are the whole state, and
    streams of examples and of their labels with one seed go in step. What
    is left of an epoch when it no longer fills a batch is passed over: shapes stay static.
    """

    def __init__(
        self,
        examples: Examples | Labels,
        batch_size: int,
        *,
        seed: int,
        device: torch.device,
        resident: bool | None = None,
    ) -> None:
        """Stream `examples`.

        Args:
            examples: images, uint8 `[N, C, H, W]`, points, fp32 `[N, D]`, or symbols, uint8
                `[N, H, W]`, uint8 or uint16 `[N, L]`, or labels, int64 `[N]`; memory-mapped or not.
            batch_size: examples a batch.
            seed: determines the order.
            device: where batches are wanted.
            resident: keep the whole array on `device`; by default when that is a GPU where it
                takes at most a quarter of the free memory.

        Raises:
            DataError: there are fewer examples than one batch takes.
        """
        if len(examples) < batch_size:
            raise DataError(
                f"train.batch_size is {batch_size}, but the training split has only "
                f"{len(examples)} examples"
            )
        self.batch_size = batch_size
        self.device = device
        self._seed = seed
        self._epoch = 0
        self._position = 0
        self._examples = examples
        # NHWC: a row of it is an image in channels_last.
        self._resident: Tensor | None = None  # [N, H, W, C], or as examples
        if _fits(examples, device) if resident is None else resident:
            rows = symbol_tensor(examples)
            outermost = rearrange(rows, "n c h w -> n h w c") if rows.ndim == 4 else rows
            self._resident = outermost.contiguous().to(device)
        self._order = self._draw_order()
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="batches")
        self._upcoming: Future[Tensor] | None = None

    def next(self) -> Tensor:
        """The next batch on the device.

        Images are uint8 `[B, C, H, W]` in channels_last, points fp32 `[B, D]`, symbols uint8
        `[B, H, W]` or `[B, L]`, int32 where they are stored as uint16, labels int64 `[B]`.
        """
        if self._resident is not None:
            return self.gather(self.next_index())
        return self.next_rows().to(self.device, non_blocking=True)

    def static(self) -> StaticBatch:
        """Memory for one batch: its index where the array is on the device, else its rows."""
        return _StaticRows(self) if self._resident is None else _StaticIndex(self)

    def next_index(self) -> Tensor:
        """Which examples the next batch has, int64 `[B]`, on the device of the array."""
        self._wrap()
        index = self._order[self._position : self._position + self.batch_size]
        self._position += self.batch_size
        return index

    def gather(self, index: Tensor) -> Tensor:
        """The examples of `index`, out of the array on the device, as `next` gives them."""
        if self._resident is None:
            raise ValueError("the array is not on the device")
        rows = self._resident[index]
        return rearrange(rows, "b h w c -> b c h w") if rows.ndim == 4 else rows

    def next_rows(self) -> Tensor:
        """The next batch in the memory of the host, pinned where the device is a GPU."""
        # One batch ahead, so that reading from disk goes on while the device computes.
        if self._upcoming is None:
            self._upcoming = self._worker.submit(self._read, self._peek())
        batch = self._upcoming.result()
        self.next_index()
        self._upcoming = self._worker.submit(self._read, self._peek())
        return batch

    def state_dict(self) -> dict[str, Any]:
        """Where the stream stands, as plain numbers."""
        return {"epoch": self._epoch, "position": self._position}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken."""
        self._epoch, self._position = int(state["epoch"]), int(state["position"])
        self._order = self._draw_order()
        self._upcoming = None

    def _draw_order(self) -> Tensor:
        """The permutation of the present epoch, `[N]`."""
        return self._order_of(self._epoch)

    def _order_of(self, epoch: int) -> Tensor:
        rng = torch.Generator().manual_seed(stream_seed(self._seed, f"epoch {epoch}"))
        order = torch.randperm(len(self._examples), generator=rng)
        if self._resident is None or self.device.type != "cuda":
            return order
        # Pinned, so that turning to the next epoch does not wait for the GPU either.
        return order.pin_memory().to(self.device, non_blocking=True)

    def _wrap(self) -> None:
        """Turn to the next epoch when the present one no longer fills a batch."""
        if self._position + self.batch_size > len(self._examples):
            self._epoch += 1
            self._position = 0
            self._order = self._draw_order()

    def _peek(self) -> Tensor:
        if self._position + self.batch_size > len(self._examples):
            return self._order_of(self._epoch + 1)[: self.batch_size]
        return self._order[self._position : self._position + self.batch_size]

    def _read(self, index: Tensor) -> Tensor:
        rows = symbol_tensor(self._examples[index.numpy()])  # [B, *shape], copied from the map
        if rows.ndim == 4:
            rows = rows.contiguous(memory_format=torch.channels_last)
        return rows.pin_memory() if self.device.type == "cuda" else rows


class _StaticIndex:
    """The index of a batch; what it stands for is gathered anew each time."""

    def __init__(self, batches: Batches) -> None:
        self._batches = batches
        self._index: Tensor | None = None  # [B]

    def fill(self) -> None:
        index = self._batches.next_index()
        if self._index is None:
            self._index = torch.empty_like(index)
        self._index.copy_(index, non_blocking=True)

    def get(self) -> Tensor:
        return self._batches.gather(_filled(self._index))


class _StaticRows:
    """The rows of a batch, copied from the host."""

    def __init__(self, batches: Batches) -> None:
        self._batches = batches
        self._rows: Tensor | None = None  # [B, *shape]

    def fill(self) -> None:
        rows = self._batches.next_rows()
        if self._rows is None:
            self._rows = torch.empty_like(rows, device=self._batches.device)
        self._rows.copy_(rows, non_blocking=True)

    def get(self) -> Tensor:
        # A tensor of its own: points are handed on as they are, and asked for gradients.
        return _filled(self._rows).detach()


def _filled(batch: Tensor | None) -> Tensor:
    if batch is None:
        raise ValueError("there is no batch yet: `fill` comes before `get`")
    return batch


class LabelledBatches:
    """Batches of examples with their labels: two streams in step."""

    def __init__(self, examples: Batches, labels: Batches) -> None:
        """Join two streams of one seed and batch size."""
        self._examples = examples
        self._labels = labels

    def next(self) -> Labelled:
        """The next batch on the device."""
        return Labelled(self._examples.next(), self._labels.next())

    def static(self) -> StaticBatch:
        """Memory for one batch."""
        return _StaticLabelled(self._examples.static(), self._labels.static())

    def state_dict(self) -> dict[str, Any]:
        """Where both streams stand, as plain numbers."""
        return self._examples.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken."""
        self._examples.load_state_dict(state)
        self._labels.load_state_dict(state)


class _StaticLabelled:
    """Examples, and their labels."""

    def __init__(self, examples: StaticBatch, labels: StaticBatch) -> None:
        self._examples = examples
        self._labels = labels

    def fill(self) -> None:
        self._examples.fill()
        self._labels.fill()

    def get(self) -> Labelled:
        return Labelled(self._examples.get(), self._labels.get())


def _fits(examples: Examples | Labels, device: torch.device) -> bool:
    if device.type != "cuda":
        return False
    free, _ = torch.cuda.mem_get_info(device)
    # Of uint16 the tensor is int32.
    needed = 2 * examples.nbytes if examples.dtype.itemsize == 2 else examples.nbytes
    return needed <= RESIDENT_SHARE * free
