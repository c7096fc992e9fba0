"""One problem on a device: its operands, what is right, PyTorch's side and ours."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ..conv_transpose.activations import activate
from ..conv_transpose.definitions import products as definitions
from ..conv_transpose.definitions.products import Prologue
from ..conv_transpose.tiles import PACKED_CHANNELS, TileConfig
from .clock import Clock
from .plan import DTYPES, Problem

# ‖ours − reference‖ / ‖reference‖ at most.
TOLERANCES = {"bf16": 1e-2, "fp16": 1e-3, "tf32": 2e-3, "fp32": 1e-5}
_ROUNDS = 15
_CL = torch.channels_last
_EPS = 1e-5


class Times(NamedTuple):
    """Medians over rounds in which both sides took their turn."""

    torch: float
    ours: float
    ratio: float  # the median of the rounds' ratios


class Operands:
    """What one problem's product is called with.

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

        y, x = (b, side, side), (a, 2 * side, 2 * side)
        self.extras: dict[str, object] = {}
        if op == "wgrad":
            self.tensors = (image(n, *x), image(n, *y))
            if "prologue" in epilogue:
                prologues = [Prologue(coefficients(c), coefficients(c), "relu") for c in (a, b)]
                self.extras = dict(zip(("x_prologue", "y_prologue"), prologues, strict=True))
            return
        inside, outside = (b, a) if op == "dgrad" else (a, b)
        self.tensors = (image(n, *(y if op == "dgrad" else x)), image(b, a, 4, 4))
        if "prologue" in epilogue:
            prologue = Prologue(coefficients(inside), coefficients(inside), "relu")
            self.extras["prologue"] = prologue
        if "statistics" in epilogue:
            self.extras["statistics"] = True
        if epilogue == "activation":
            activation = "tanh" if op == "dgrad" and a <= PACKED_CHANNELS else "leaky_relu"
            self.extras |= {"bias": make(outside), "activation": activation}

    def launch(self, config: TileConfig) -> object:
        """Our product, launched so."""
        from ..conv_transpose.launch import products

        product: Callable[..., object] = getattr(products, self.problem.op)
        return product(*self.tensors, config=config, **self.extras)

    def by_torch(self) -> object:
        """What a careful user of PyTorch calls for the same, in channels_last."""
        op, first, second = self.problem.op, *self.tensors
        if op == "wgrad":
            return torch_wgrad(
                _normalised(first, self.extras.get("x_prologue")),
                _normalised(second, self.extras.get("y_prologue")),
            )
        first = _normalised(first, self.extras.get("prologue"))
        convolve = F.conv_transpose2d if op == "dgrad" else F.conv2d
        bias, activation = self.extras.get("bias"), self.extras.get("activation")
        assert bias is None or isinstance(bias, Tensor)
        assert activation is None or isinstance(activation, str)
        result = activate(convolve(first, second, bias, 2, 1), activation)
        return (result, *_statistics(result)) if "statistics" in self.extras else result


def _normalised(x: Tensor, prologue: object) -> Tensor:
    """The prologue as a pass of its own."""
    if not isinstance(prologue, Prologue):
        return x
    scale, shift = (each.to(x.dtype)[:, None, None] for each in prologue[:2])
    return torch.addcmul(shift, x, scale).relu_()


def _statistics(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and reciprocal deviation by channel as PyTorch's batch normalisation takes them."""
    if x.is_cuda:
        found: tuple[Tensor, Tensor] = torch.batch_norm_stats(x, _EPS)
        return found
    variance, mean = torch.var_mean(x.float(), dim=(0, 2, 3), correction=0)
    return mean, torch.rsqrt(variance + _EPS)


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
        self._torchs: Callable[[], float] | None = None
        generator = torch.Generator(device).manual_seed(0)
        dtype = DTYPES[problem.precision]
        self.operands = Operands(
            problem,
            lambda *shape: torch.randn(shape, generator=generator, device=device).to(dtype),
            lambda c: torch.rand(c, generator=generator, device=device) + 0.5,
        )
        definition: Callable[..., object] = getattr(definitions, problem.op)
        extras = dict(self.operands.extras)
        if isinstance(extras.get("bias"), Tensor):
            extras["bias"] = extras["bias"].float()  # type: ignore[attr-defined]
        with fp32_precision("ieee"):
            wide = [operand.float() for operand in self.operands.tensors]
            self.expected = _tensors(definition(*wide, **extras))

    def defect(self, config: TileConfig) -> str | None:
        """Why a configuration is not to be used: wrong, not repeatable or not launchable."""
        try:
            results = [_tensors(self.operands.launch(config)) for _ in range(2)]
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
        """PyTorch's time and ours, in turn."""
        clock = self._clock = self._clock or Clock(self.device)
        if self._torchs is None:
            self._torchs = clock.timer(self.operands.by_torch)
        ours = clock.timer(lambda: self.operands.launch(config))
        pairs = [(self._torchs(), ours()) for _ in range(rounds)]
        return Times(
            statistics.median(pair[0] for pair in pairs),
            statistics.median(pair[1] for pair in pairs),
            statistics.median(pair[0] / pair[1] for pair in pairs),
        )


def in_a_line(error: BaseException) -> str:
    """An error's kind and the beginning of what it says."""
    said = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {said[0][:120]}"


def _tensors(result: object) -> Sequence[Tensor]:
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
