"""What the tests of the losses share: which losses there are, and logits of every kind."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import torch
from hypothesis import strategies as st
from torch import Tensor

from kernels.losses.objectives import DISCRIMINATORS, GENERATORS, Objective

Key = TypeVar("Key", tuple[str, str], tuple[str, str, str])


def _different(objectives: Mapping[Key, Objective]) -> list[Key]:
    """The first key of each objective: both output activations of some divergences are one."""
    first: dict[Objective, Key] = {}
    for key, objective in objectives.items():
        first.setdefault(objective, key)
    return list(first.values())


DISCRIMINATOR_KEYS = _different(DISCRIMINATORS)
GENERATOR_KEYS = _different(GENERATORS)


def named(key: Sequence[str]) -> dict[str, Any]:
    """A key of either table as arguments: (loss), (loss, output) or (loss, divergence, output)."""
    names = {1: ("loss",), 2: ("loss", "output"), 3: ("loss", "divergence", "output")}[len(key)]
    return dict(zip(names, key, strict=True))


@st.composite
def strided_logits(draw: st.DrawFn, dtypes: Sequence[torch.dtype]) -> Tensor:
    """Any shape, dtype and stride: whole, stepped over, transposed or expanded."""
    shape = tuple(draw(st.lists(st.integers(1, 5), min_size=0, max_size=4)))
    scale = draw(st.sampled_from([0.1, 3.0]))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 1000)))
    kind = draw(st.sampled_from(["whole", "stepped", "transposed", "expanded"]))
    extra = {"whole": (), "stepped": (2,), "transposed": (2, 3), "expanded": (1,)}[kind]
    values = torch.randn((*shape, *extra), generator=generator).mul(scale)
    values = values.to(draw(st.sampled_from(dtypes)))
    if kind == "stepped":
        return values[..., 1]
    if kind == "transposed":
        return values.transpose(-1, -2)
    return values.expand(*shape, 3) if kind == "expanded" else values
