"""Sampling and log-probabilities with their gradient: eager, as operators of torch.library, plain.

The gradient of log-probabilities is `score`, one pass over the samples; what enters it besides is
the logits and the symbols, both of which exist anyway. Where it is itself differentiated, the
definition stands in. Symbols have no gradient, and hand none on.
"""

from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from . import definitions, twin
from .stream import Stream
from .ways import way_of

EngineName = Literal["torch", "triton"]


class Engine(Protocol):
    """The module `twin` or the module `launch`."""

    def sample(self, logits: Tensor, samples: int, stream: Stream) -> tuple[Tensor, Tensor]:
        """Symbols [M, B, P] and log-probabilities [M, B]."""

    def log_prob(self, logits: Tensor, symbols: Tensor) -> Tensor:
        """Log-probabilities [M, B]."""

    def score(self, logits: Tensor, symbols: Tensor, incoming: Tensor) -> Tensor:
        """Gradient of the logits."""


def sample(
    engine: EngineName, logits: Tensor, samples: int, stream: Stream
) -> tuple[Tensor, Tensor]:
    """Symbols [M, B, P] and log-probabilities [M, B], differentiable in the logits.

    Symbols are of `definitions.symbol_dtype`.

    Args:
        engine: "torch" or "triton".
        logits: [B, P, V] or [B, P].
        samples: M.
        stream: which random numbers.
    """
    way = way_of(logits, *(each for each in stream if isinstance(each, Tensor)))
    if way == "plain":
        return definitions.sample(logits, samples, stream)
    if way == "library":
        seed, offset = (each if isinstance(each, Tensor) else None for each in stream)
        numbers = [0 if isinstance(each, Tensor) else each for each in stream]
        # A schema's integers are signed.
        key = numbers[0] - 2**64 if numbers[0] >= 2**63 else numbers[0]
        log_probs, symbols = _sample_op(logits, samples, seed, offset, key, numbers[1], engine)
        return symbols, log_probs
    if torch.is_grad_enabled() and logits.requires_grad:
        drawn: tuple[Tensor, Tensor] = _Sample.apply(logits, samples, stream, engine)  # type: ignore[no-untyped-call]
        return drawn
    return _engine(engine).sample(logits, samples, stream)


def log_prob(engine: EngineName, logits: Tensor, symbols: Tensor) -> Tensor:
    """Log-probabilities [M, B] of given symbols [M, B, P], differentiable in the logits."""
    way = way_of(logits, symbols)
    if way == "plain":
        return definitions.log_prob(logits, symbols)
    if way == "library":
        of_given: Tensor = _log_prob_op(logits, symbols, engine)
        return of_given
    if torch.is_grad_enabled() and logits.requires_grad:
        value: Tensor = _LogProb.apply(logits, symbols, engine)  # type: ignore[no-untyped-call]
        return value
    return _engine(engine).log_prob(logits, symbols)


def _engine(name: str) -> Engine:
    if name == "torch":
        return twin
    from . import launch  # imports triton

    return launch


class _Sample(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, logits: Tensor, samples: int, stream: Stream, engine: str
    ) -> tuple[Tensor, Tensor]:
        ctx.engine = engine
        symbols, log_probs = _engine(engine).sample(logits, samples, stream)
        ctx.mark_non_differentiable(symbols)
        ctx.save_for_backward(logits, symbols)
        return symbols, log_probs

    @staticmethod
    def backward(ctx: Any, _: Any, incoming: Tensor) -> tuple[Tensor | None, ...]:
        return _gradient(ctx, incoming), None, None, None


class _LogProb(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, symbols: Tensor, engine: str) -> Tensor:
        ctx.engine = engine
        ctx.save_for_backward(logits, symbols)
        return _engine(engine).log_prob(logits, symbols)

    @staticmethod
    def backward(ctx: Any, incoming: Tensor) -> tuple[Tensor | None, ...]:
        return _gradient(ctx, incoming), None, None


def _gradient(ctx: Any, incoming: Tensor) -> Tensor:
    logits, symbols = ctx.saved_tensors
    # The gradient will be differentiated, or a batch of them is computed.
    if torch.is_grad_enabled() or way_of(incoming) == "plain":
        return definitions.score(logits, symbols, incoming)
    return _engine(ctx.engine).score(logits, symbols, incoming)


# --- operators of torch.library ------------------------------------------------------------------
# In eager the library's boundary costs more than a kernel: the functions above run there.

# By the package's own name: a copy of it under another name can be loaded in the same process.
NAMESPACE = __name__.removesuffix(".autograd").replace(".", "_")


@torch.library.custom_op(f"{NAMESPACE}::sample", mutates_args=())
def _sample_op(
    logits: Tensor,
    samples: int,
    seed_tensor: Tensor | None,
    offset_tensor: Tensor | None,
    seed: int,
    offset: int,
    engine: str,
) -> tuple[Tensor, Tensor]:
    stream = Stream(
        seed if seed_tensor is None else seed_tensor,
        offset if offset_tensor is None else offset_tensor,
    )
    symbols, log_probs = _engine(engine).sample(logits, samples, stream)
    return log_probs, symbols  # `opcheck` adds up what comes out, in the first one's dtype


@_sample_op.register_fake
def _(
    logits: Tensor,
    samples: int,
    seed_tensor: Tensor | None,
    offset_tensor: Tensor | None,
    seed: int,
    offset: int,
    engine: str,
) -> tuple[Tensor, Tensor]:
    rows, positions = logits.shape[:2]
    symbols = logits.new_empty((samples, rows, positions), dtype=definitions.symbol_dtype(logits))
    return logits.new_empty((samples, rows), dtype=_wide_dtype(logits)), symbols


@torch.library.custom_op(f"{NAMESPACE}::log_prob", mutates_args=())
def _log_prob_op(logits: Tensor, symbols: Tensor, engine: str) -> Tensor:
    return _engine(engine).log_prob(logits, symbols)


@_log_prob_op.register_fake
def _(logits: Tensor, symbols: Tensor, engine: str) -> Tensor:
    return logits.new_empty(symbols.shape[:2], dtype=_wide_dtype(logits))


@torch.library.custom_op(f"{NAMESPACE}::score", mutates_args=())
def _score_op(logits: Tensor, symbols: Tensor, incoming: Tensor, engine: str) -> Tensor:
    return _engine(engine).score(logits, symbols, incoming)


@_score_op.register_fake
def _(logits: Tensor, symbols: Tensor, incoming: Tensor, engine: str) -> Tensor:
    return torch.empty_like(logits)


def _wide_dtype(logits: Tensor) -> torch.dtype:
    return torch.float64 if logits.dtype == torch.float64 else torch.float32


def _set_up_sample(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    ctx.engine = inputs[-1]
    ctx.mark_non_differentiable(output[1])
    ctx.save_for_backward(inputs[0], output[1])


def _set_up_log_prob(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.engine = inputs[-1]
    ctx.save_for_backward(inputs[0], inputs[1])


def _score(ctx: Any, incoming: Tensor) -> Tensor:
    logits, symbols = ctx.saved_tensors
    if way_of(incoming) == "plain":
        return definitions.score(logits, symbols, incoming)
    gradient: Tensor = _score_op(logits, symbols, incoming, ctx.engine)
    return gradient


def _set_up_score(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[:3])


def _score_gradients(ctx: Any, direction: Tensor) -> tuple[Tensor | None, ...]:
    logits, symbols, incoming = ctx.saved_tensors
    of_logits, of_incoming = definitions.score_gradients(logits, symbols, incoming, direction)
    return of_logits, None, of_incoming, None


_sample_op.register_autograd(
    lambda ctx, incoming, _: (_score(ctx, incoming), *(None,) * 6), setup_context=_set_up_sample
)
_log_prob_op.register_autograd(
    lambda ctx, incoming: (_score(ctx, incoming), None, None), setup_context=_set_up_log_prob
)
_score_op.register_autograd(_score_gradients, setup_context=_set_up_score)
