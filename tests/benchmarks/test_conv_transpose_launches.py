from collections import Counter

import pytest
import torch
from torch import nn

from benchmarks.conv_transpose_launches import Operators, counted, rows
from kernels import ConvTransposeBlock

pytestmark = pytest.mark.skipif(
    torch.cuda.is_available(), reason="counts launches of the interpreter, which is off with a GPU"
)


def test_operators_are_those_that_launch() -> None:
    counts = Counter[str]()
    x = torch.ones(2, 3, requires_grad=True)
    with Operators(counts):
        y = x.view(3, 2).t() * 2  # a view and a transpose launch nothing
        y.add_(torch.empty_like(y).fill_(1))
    assert counts == {"mul": 1, "fill_": 1, "add_": 1}
    counts.clear()
    layer = nn.Conv2d(3, 4, 3)
    y = layer(torch.zeros(1, 3, 5, 5))
    g = torch.ones_like(y)
    with Operators(counts):
        torch.autograd.grad(y, list(layer.parameters()), g)
    assert counts == {"convolution_backward": 2}  # of weight and bias, the input needing none


def test_launches_of_a_block() -> None:
    pytest.importorskip("triton")
    forward, backward = counted(ConvTransposeBlock(16, 8), (4, 16, 4, 4), fused=True)
    assert forward == {
        "add_": 1,
        "dgrad_kernel": 1,
        "combine_statistics_kernel": 1,
        "coefficients_kernel": 1,
        "apply_kernel": 1,
    }
    assert {"fprop_kernel", "wgrad_kernel", "backward_apply_kernel"} < set(backward)


def test_a_generator_passes_over_fewer_images_than_torch() -> None:
    pytest.importorskip("triton")
    found = [row for row in rows(2) if "generator" in str(row["what"])]
    assert [row["direction"] for row in found] == ["forward", "backward"]
    assert found[0]["over_images"] == 6  # five convolutions and the moments of the first's result
    assert found[0]["sequential_over_images"] == 5 + 4 + 4 + 1
