"""One problem on a device: its operands, what is right, PyTorch's side and ours."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ..conv_transpose.definitions import products as definitions
from ..conv_transpose.definitions.normalisation import BatchNorm, ChannelMoments
from ..conv_transpose.definitions.products import Prologue
from ..conv_transpose.tiles import TileConfig
from .clock import Clock
from .plan import DTYPES, Problem

# ‖ours − reference‖ / ‖reference‖ at most.
TOLERANCES = {"bf16": 1e-2, "fp16": 1e-3, "tf32": 2e-3, "fp32": 1e-5}
_ROUNDS = 15
_CL = torch.channels_last
_EPS = 1e-5


class Times(NamedTuple):
    """Medians over rounds in which both sides took their turn."""

    other: float
    ours: float
    ratio: float  # the median of the rounds' ratios


class Operands:
    """What one problem's product is called with, and both sides of what is timed.

    Args:
        problem: which.
        make: a tensor of a shape, random or not initialised, in the problem's dtype.
        coefficients: likewise, a vector in fp32.
    """

    def __init__(
        self,
        problem: Problem,
        make: Callable[..., Tensor],
        coefficients: Callable[[int], Tensor],
    ) -> None:
        self.problem = problem
        op, _, b, a, side, n, epilogue = problem

        def image(*shape: int) -> Tensor:
            return make(*shape).contiguous(memory_format=_CL)

        self.x, self.y = image(n, a, 2 * side, 2 * side), image(n, b, side, side)
        if op == "wgrad":
            self.tensors = (self.x, self.y)
        else:
            self.tensors = (self.y if op == "dgrad" else self.x, image(b, a, 4, 4))
        self.extras: dict[str, object] = {}
        self.prologue: Prologue | None = None
        if epilogue != "plain":
            self.extras["statistics"] = True
        if epilogue == "folded":
            inside = b if op == "dgrad" else a
            self.prologue = Prologue(coefficients(inside), coefficients(inside), "relu")
            self.extras["prologue"] = self.prologue

    def launch(self, config: TileConfig) -> list[Tensor]:
        """Our product, launched so; what it returns, folded with the gradient of its weights."""
        found = _tensors(self._product(config=config, **self.extras))
        if self.prologue is not None:
            found.append(self._weight_grad(self.tensors[0], self.prologue))
        return found

    def ours(self, config: TileConfig) -> object:
        """Our side of what is timed, see `tiles.EPILOGUES`."""
        found = self.launch(config)
        if self.problem.epilogue != "statistics":
            return found
        from ..conv_transpose.launch import normalisation

        result, mean, m2 = found
        norm = BatchNorm(None, None, None, None, True, None, None, _EPS)
        values = result.numel() // result.shape[1]
        numbers = normalisation.coefficients(ChannelMoments(mean, m2, values), norm)
        return normalisation.apply(result, numbers.scale, numbers.shift, None)

    def other(self) -> object:
        """The other side: PyTorch's operators as a careful user calls them, in channels_last.

        Of a folded product it is ours with a pass for the normalisation.
        """
        op, first, second = self.problem.op, *self.tensors
        if self.prologue is not None:
            from ..conv_transpose.launch import normalisation

            operand = normalisation.apply(first, *self.prologue)
            product = self._product(operand, second, statistics=True)
            return product, self._weight_grad(operand, None)
        if op == "wgrad":
            return torch_wgrad(first, second)
        convolve = F.conv_transpose2d if op == "dgrad" else F.conv2d
        result = convolve(first, second, None, 2, 1)
        if self.problem.epilogue == "statistics":
            return F.batch_norm(result, None, None, None, None, True, eps=_EPS)
        return result

    def _product(self, *operands: Tensor, **options: object) -> object:
        from ..conv_transpose.launch import products

        product: Callable[..., object] = getattr(products, self.problem.op)
        return product(*(operands or self.tensors), **options)

    def _weight_grad(self, operand: Tensor, prologue: Prologue | None) -> Tensor:
        """Of an operand of the product, with the other image as the gradient of its result."""
        from ..conv_transpose.launch import products

        if self.problem.op == "dgrad":
            return products.wgrad(self.x, operand, y_prologue=prologue)
        return products.wgrad(operand, self.y, x_prologue=prologue)


def torch_wgrad(x: Tensor, y: Tensor) -> Tensor:
    """Gradient of the weights as torch computes it, in the operands' dtype."""
    shape = (y.shape[1], x.shape[1], 4, 4)
    weight = torch.empty(shape, dtype=y.dtype, device=y.device, memory_format=_CL)
    _, grad, _ = torch.ops.aten.convolution_backward(
        y, x, weight, None, (2, 2), (1, 1), (1, 1), False, (0, 0), 1, (False, True, False)
    )
    result: Tensor = grad
    return result


class Case:
    """Random operands of one problem, the reference, and both sides."""

    def __init__(self, problem: Problem, device: torch.device, clock: Clock | None = None) -> None:
        self.problem = problem
        self.device = device
        self._clock = clock
        self._other: Callable[[], float] | None = None
        generator = torch.Generator(device).manual_seed(0)
        dtype = DTYPES[problem.precision]
        self.operands = Operands(
            problem,
            lambda *shape: torch.randn(shape, generator=generator, device=device).to(dtype),
            lambda c: torch.rand(c, generator=generator, device=device) + 0.5,
        )
        definition: Callable[..., object] = getattr(definitions, problem.op)
        with fp32_precision("ieee"):
            wide = [operand.float() for operand in self.operands.tensors]
            self.expected = _tensors(definition(*wide, **self.operands.extras))
            prologue = self.operands.prologue
            if prologue is not None:
                x, y = self.operands.x.float(), self.operands.y.float()
                side = "y_prologue" if problem.op == "dgrad" else "x_prologue"
                self.expected.append(definitions.wgrad(x, y, **{side: prologue}))

    def defect(self, config: TileConfig) -> str | None:
        """Why a configuration is not to be used: wrong, not repeatable or not launchable."""
        try:
            results = [self.operands.launch(config) for _ in range(2)]
            if self.device.type == "cuda":
                torch.cuda.synchronize(self.device)
        except Exception as error:  # out of resources, or the compiler's
            return in_a_line(error)
        tolerance = TOLERANCES[self.problem.precision]
        for once, again, right in zip(*results, self.expected, strict=True):
            if not torch.equal(once, again):
                return "results differ from launch to launch"
            distance = ((once.float() - right).norm() / right.norm()).item()
            if not distance <= tolerance:
                return f"wrong: relative error {distance:.1e} of at most {tolerance:.0e}"
        return None

    def times(self, config: TileConfig, rounds: int = _ROUNDS) -> Times:
        """The other side's time and ours, in turn."""
        clock = self._clock = self._clock or Clock(self.device)
        if self._other is None:
            self._other = clock.timer(self.operands.other)
        ours = clock.timer(lambda: self.operands.ours(config))
        pairs = [(self._other(), ours()) for _ in range(rounds)]
        return Times(
            statistics.median(pair[0] for pair in pairs),
            statistics.median(pair[1] for pair in pairs),
            statistics.median(pair[0] / pair[1] for pair in pairs),
        )


def in_a_line(error: BaseException) -> str:
    """An error's kind and the beginning of what it says."""
    said = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {said[0][:120]}"


def _tensors(result: object) -> list[Tensor]:
    found = result if isinstance(result, tuple) else (result,)
    return [each for each in found if isinstance(each, Tensor)]


@contextmanager
def fp32_precision(precision: str) -> Iterator[None]:
    """Have torch's convolutions compute fp32 in this precision inside the `with` block."""
    convolutions = torch.backends.cudnn.conv  # type: ignore[attr-defined]
    before = convolutions.fp32_precision
    convolutions.fp32_precision = precision
    try:
        yield
    finally:
        convolutions.fp32_precision = before
