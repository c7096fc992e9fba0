"""Operators of a round, as the dispatcher sees them: written down, replayed, or searched for waits.

`Tape` is to the CPU what `CudaGraphs` is to a GPU: a recording has the operators of one round with
the tensors that they read, and a replay computes them anew into the tensors that they gave then.
What Python worked out, and every number among the arguments, is what it was at the recording.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

from gan.training.round_graph import Recording, Round
from kernels.losses import curves, statistics, twin

# What gives the host a number, or a tensor whose shape is one; `lift_fresh` takes one from there.
WAITS = {
    "lift_fresh", "lift_fresh_copy", "_pin_memory",
    "_local_scalar_dense", "item", "is_nonzero", "nonzero", "nonzero_numpy", "equal", "allclose",
    "masked_select", "_unique", "_unique2", "unique_dim", "unique_consecutive", "argwhere",
    "repeat_interleave", "bincount",
}  # fmt: skip
# The same by Python's own names: where the tensor is on the host already no operator is called.
WAITING_METHODS = {
    "item", "tolist", "numpy", "cpu", "__bool__", "__int__", "__float__", "__index__", "__array__",
    "__contains__", "__complex__", "__format__", "__repr__",
}  # fmt: skip
# Fresh memory: what is in it is not computed.
FRESH = {"empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided", "empty_permuted"}


class Call(NamedTuple):
    """One operator that was called."""

    operator: Any
    arguments: tuple[Any, ...]
    named: dict[str, Any]
    result: Any

    @property
    def name(self) -> str:
        return str(self.operator.__name__).split(".")[0]

    def described(self) -> str:
        """All of it that a replay repeats: tensors by layout, everything else by value."""
        return f"{self.operator} {tree_map(_described, (self.arguments, self.named, self.result))}"


def _alias(value: Any) -> Any:
    """A tensor on the same memory whose shape stays what it is: `squeeze_` changes another's."""
    return value.detach() if isinstance(value, Tensor) else value


def _described(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"{value.dtype}{list(value.shape)}{list(value.stride())}"
    return "generator" if isinstance(value, torch.Generator) else repr(value)


def _tensors(value: Any) -> list[Tensor]:
    return [each for each in tree_flatten(value)[0] if isinstance(each, Tensor)]


class Operators(TorchDispatchMode):
    """Calls them, and writes down each."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Call] = []

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        before = tree_map(_alias, (args, kwargs))
        result = func(*args, **kwargs)
        if func.namespace != "profiler":
            self.calls.append(Call(func, *before, tree_map(_alias, result)))
        return result


class NoWaiting(TorchFunctionMode):
    """Raises where the host would have to wait for a GPU, by an operator or by Python's name."""

    def __torch_function__(
        self,
        func: Any,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if getattr(func, "__name__", "") in WAITING_METHODS:
            raise AssertionError(f"Tensor.{func.__name__} waits for the device")
        return func(*args, **(kwargs or {}))


class _NoWaitingOperators(Operators):
    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        name = str(func.__name__).split(".")[0]
        by_mask = name in {"index", "index_put", "index_put_", "_index_put_impl_"} and any(
            each.dtype in (torch.bool, torch.uint8) for each in _tensors(args[1])
        )
        if name in WAITS or by_mask:
            raise AssertionError(f"{func} waits for the device")
        return super().__torch_dispatch__(func, types, args, kwargs)


@contextmanager
def no_waiting() -> Iterator[list[Call]]:
    """Raise AssertionError where the block would wait for a GPU; gives what it calls."""
    with NoWaiting(), _NoWaitingOperators() as operators:
        yield operators.calls


class TapeRecording:
    """A round, operator by operator."""

    def __init__(self, calls: Sequence[Call]) -> None:
        self.calls = [call for call in calls if call.name not in FRESH]

    def replay(self) -> None:
        # As they were seen: below autograd, which has its part in the recording.
        with torch._C._AutoDispatchBelowAutograd():
            for call in self.calls:
                arguments, named = tree_map(_alias, (call.arguments, call.named))
                fresh = call.operator(*arguments, **named)
                for new, old in zip(_tensors(fresh), _tensors(call.result), strict=True):
                    if new.data_ptr() != old.data_ptr():  # else a view, or changed in place
                        old.copy_(new)


class Tape:
    """Records rounds on the CPU."""

    def __init__(self) -> None:
        self.played = 0
        self.recordings: list[TapeRecording] = []

    def play(self, play_round: Round) -> None:
        self.played += 1
        play_round()

    def record(self, play_round: Round, streams: Sequence[torch.Generator]) -> Recording:
        with no_waiting() as calls:
            play_round()
        for call in calls:
            generators = [
                each
                for each in tree_flatten((call.arguments, call.named))[0]
                if isinstance(each, torch.Generator)
            ]
            # Random numbers from elsewhere would be no part of the state.
            if torch.Tag.nondeterministic_seeded in call.operator.tags:
                assert generators, call.operator
            for each in generators:  # another wrapper of the same one
                assert any(torch.equal(each.get_state(), one.get_state()) for one in streams)
        self.recordings.append(TapeRecording(calls))
        return self.recordings[-1]

    def forget(self) -> None:
        """Keep them for the tests to count."""


def as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let rounds on the CPU take no look at values, which costs nothing there: to the same bits."""
    # numpy samples from PyTorch's memory.
    monkeypatch.setattr("kernels.policy_gradient.stream._numpy_installed", lambda: False)
    # The losses take shorter ways in the eyes of nobody, which the recording is.
    for module in (curves, statistics, twin):
        monkeypatch.setattr(module, "eager", lambda: False)
