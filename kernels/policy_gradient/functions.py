"""Discrete generators: draw from logits, log-probabilities, and the gradient of a policy."""

from typing import NamedTuple, SupportsIndex

import torch
from torch import Tensor

from ..dispatch import Impl, Operator, TritonImplementation, check_impl, register
from ..private import exportable, leaf, looked_into, shape_of
from . import autograd
from .arguments import bernoulli, categorical, check_floating, check_symbols, count_of_samples
from .stream import Stream, check_stream, draw_seed
from .ways import way_of


class Samples(NamedTuple):
    """What a discrete generator has drawn.

    Attributes:
        symbols: [M, B, positions…], uint8, or int32 of more than 256 categories; without a
            gradient.
        log_probs: log g(x^(m)|z) of each sample, the sum over its positions, [M, B], fp32 (fp64
            for fp64 logits); differentiable in the logits.
    """

    symbols: Tensor
    log_probs: Tensor


exportable(Samples)


@leaf
def sample_categorical(
    logits: Tensor,
    samples: SupportsIndex,
    seed: SupportsIndex | Tensor | None = None,
    offset: SupportsIndex | Tensor = 0,
    *,
    generator: torch.Generator | None = None,
    dim: SupportsIndex = -1,
    impl: Impl = "auto",
) -> Samples:
    """Draw M samples of a product of categorical distributions, and their log-probabilities.

    x^(m)_p ~ softmax(ℓ_p) at every position p, log g(x) = Σ_p (ℓ_{p,x_p} − logsumexp_v ℓ_{p,v}):
    Hjelm et al. 2018 (arXiv 1702.08431), section 2.3. By inverse distribution function from 32
    random bits a symbol (`stream` says which); a symbol's frequency is right to 1e-9, or to 3e-7
    of itself where that is more (of V > 256 categories to V·2e-9 of itself). A logit of −inf is
    never drawn. The symbols are the same bits on every device, in every implementation, in every
    transform and trace, and however many samples are drawn at once.

    `log_probs` carries the gradient of the logits, in one pass over the samples and without a
    tensor of [M, B, positions, V]: the gradient of `(weights * log_probs).sum()` is
    Σ_m w^(m) (onehot(x^(m)) − softmax(ℓ)).

    `torch.vmap` gives what a loop would: examples with one seed draw the same numbers, examples
    with a seed each, `in_dims=(0, None, 0)`, their own. A generator follows its `randomness`.

    Args:
        logits: [B, positions…, V], floating point, 1 ≤ V ≤ 65,536; with `dim=1` [B, V, H, W] as a
            convolution gives them. Any strides: nothing is copied where the positions can be
            seen as one dimension.
        samples: 1 ≤ M < 2^31, an integer of any kind (`operator.index`), as is `dim`.
        seed: 64 bits: an integer of any kind, −2^63 ≤ seed < 2^64, or a tensor of one integer, 0-d,
            on the CPU or on the logits' device (there a captured CUDA graph reads it again at each
            replay). Needed unless there is a generator.
        offset: what tells draws with one seed apart, such as the step: an integer of any kind,
            0 ≤ offset < 2^32, or such a tensor, taken modulo 2^32.
        generator: what the seed is drawn from in place of `seed`, 64 bits a call: on the CPU, also
            for logits on a GPU, or on the logits' device, where nothing waits for it.
        dim: the dimension of the categories; not the first.
        impl: "auto", "triton" or "torch", see `kernels.explain`.

    Returns:
        Symbols and log-probabilities. Where a position's logits hold NaN or +inf, or are all
        −inf, there is no distribution, and looking for it would wait for a GPU: the symbol is
        V − 1, and the sample's log-probability NaN.

    Raises:
        TypeError: an argument of the wrong type; logits that are not floating point; neither or
            both of `seed` and `generator`.
        ValueError: no or more than 65,536 categories, `samples` or `dim` out of range, a seed or an
            offset out of range or, like a generator, on another device, or an unknown `impl`.
        ImplUnavailableError: `impl="triton"` where Triton cannot run it.
    """
    flat, positions = categorical(logits, dim)
    return _sample(
        _SAMPLE_CATEGORICAL, impl, logits, flat, positions, samples, seed, offset, generator
    )


@leaf
def sample_bernoulli(
    logits: Tensor,
    samples: SupportsIndex,
    seed: SupportsIndex | Tensor | None = None,
    offset: SupportsIndex | Tensor = 0,
    *,
    generator: torch.Generator | None = None,
    impl: Impl = "auto",
) -> Samples:
    """Draw M samples of a product of Bernoulli distributions, and their log-probabilities.

    x^(m)_p = 1 with probability σ(ℓ_p), log g(x) = −Σ_p [(1−x_p)ℓ_p + sp(−ℓ_p)]: Hjelm et al.
    2018, section 2.3. The less likely value of a position has its frequency to 1e-9, or to 3e-7
    of itself where that is more; otherwise as `sample_categorical`.

    Args:
        logits: [B, positions…], floating point, of any strides.
        samples: M, as in `sample_categorical`, as are the next three.
        seed: 64 bits.
        offset: what tells draws with one seed apart.
        generator: in place of a seed.
        impl: "auto", "triton" or "torch".

    Returns:
        Symbols, 0 and 1, [M, B, positions…], and log-probabilities. Where a logit is NaN the
        symbol is 0 and the sample's log-probability NaN; +inf is always 1, −inf always 0.

    Raises:
        TypeError: an argument of the wrong type; logits that are not floating point; neither or
            both of `seed` and `generator`.
        ValueError: logits without a dimension, `samples` out of range, a seed or an offset out of
            range or, like a generator, on another device, or an unknown `impl`.
        ImplUnavailableError: `impl="triton"` where Triton cannot run it.
    """
    flat, positions = bernoulli(logits)
    return _sample(
        _SAMPLE_BERNOULLI, impl, logits, flat, positions, samples, seed, offset, generator
    )


@leaf
def log_prob(
    logits: Tensor, symbols: Tensor, *, dim: SupportsIndex = -1, impl: Impl = "auto"
) -> Tensor:
    """Log-probabilities of given symbols, differentiable in the logits to any order.

    Which distribution is meant the symbols' rank says: [M, B, positions…] for logits
    [B, positions…] are values of Bernoullis, for logits with one more dimension of categories.
    One derivative costs one pass over the samples and no more memory than the logits; further
    ones are those of the plain definition.

    Args:
        logits: [B, positions…] or [B, positions…, V] as in `sample_categorical`.
        symbols: [M, B, positions…], uint8, int16, int32 or int64; 0 and 1, or 0 … V−1. That they
            are in range is checked on a CPU, outside of transforms and traces; on a GPU, where
            looking would wait for it, a sample with a category that does not exist has
            log-probability NaN, and any value but 0 counts as 1.
        dim: the dimension of the categories.
        impl: "auto", "triton" or "torch".

    Returns:
        [M, B], fp32, fp64 for fp64 logits. NaN where a position's logits hold NaN or +inf or are
        all −inf, of Bernoullis where one is NaN; −inf for what cannot be drawn.

    Raises:
        TypeError: logits that are not floating point, symbols that are not integers.
        ValueError: shapes or devices that do not fit, symbols out of range, or an unknown `impl`.
        ImplUnavailableError: `impl="triton"` where Triton cannot run it.
    """
    check_floating(logits, "logits")
    axis = check_symbols(symbols, logits, dim)
    flat, _ = bernoulli(logits) if axis is None else categorical(logits, axis)
    if symbols.device.type == "cpu" and way_of(symbols, logits) == "eager" and symbols.numel():
        values = 2 if axis is None else flat.shape[-1]
        least, most = (int(each) for each in symbols.aminmax())
        if least < 0 or most >= values:
            raise ValueError(
                f"symbols are between {least} and {most}: expected 0 ≤ symbols < {values}"
            )
    given = symbols.detach()
    if given.dim() != 3:
        given = given.unsqueeze(2).flatten(2)  # [M, B, P]
    return _LOG_PROB.run(impl, flat, given.contiguous())


@leaf
def weighted_log_prob(
    logits: Tensor,
    symbols: Tensor,
    weights: Tensor,
    *,
    dim: SupportsIndex = -1,
    impl: Impl = "auto",
) -> Tensor:
    """Σ_b Σ_m w^(m,b) log g(x^(m,b)|z_b): minus B times what the generator minimises.

    Its gradient is Σ_m w^(m) (onehot(x^(m)) − softmax(ℓ)), or Σ_m w^(m) (x^(m) − σ(ℓ)): the
    estimators of Hjelm et al. 2018, section 2.3, with w = w̃ (`importance`, see
    `normalised_weights`) or w = (F − log β − 1)/M (`reinforce`). Symbols and weights are
    constants: no gradient flows through them, also where the weights require one. For samples
    just drawn `(weights.detach() * samples.log_probs).sum()` is the same and needs no forward
    pass of its own.

    Args:
        logits: as in `log_prob`.
        symbols: [M, B, positions…], as there.
        weights: [M, B], floating point.
        dim: the dimension of the categories.
        impl: "auto", "triton" or "torch".

    Returns:
        A sum over M and B, 0-d, fp32, fp64 for fp64 logits.

    Raises:
        TypeError: logits or weights that are not floating point, symbols that are not integers.
        ValueError: shapes or devices that do not fit, symbols out of range, or an unknown `impl`.
        ImplUnavailableError: `impl="triton"` where Triton cannot run it.
    """
    check_floating(weights, "weights")
    if isinstance(symbols, Tensor) and shape_of(weights) != shape_of(symbols)[:2]:
        raise ValueError(
            f"weights have shape {list(weights.shape)}: expected [M, B] = "
            f"{list(symbols.shape[:2])}, as the symbols"
        )
    if isinstance(logits, Tensor) and weights.device != logits.device:
        raise ValueError(f"weights are on {weights.device} and logits on {logits.device}")
    log_probs = log_prob(logits, symbols, dim=dim, impl=impl)
    return (weights.detach().to(log_probs.dtype) * log_probs).sum()


def _sample(
    operator: "Operator[[Tensor, int, Stream], tuple[Tensor, Tensor]]",
    impl: Impl,
    logits: Tensor,
    flat: Tensor,
    positions: tuple[int, ...],
    samples: SupportsIndex,
    seed: SupportsIndex | Tensor | None,
    offset: SupportsIndex | Tensor,
    generator: torch.Generator | None,
) -> Samples:
    if seed is not None and generator is not None:
        raise TypeError("seed and generator are both given: expected exactly one of them")
    count = count_of_samples(samples)
    if seed is not None:
        stream = check_stream(seed, offset, logits.device)
    elif generator is not None:
        stream = check_stream(0, offset, logits.device)
        check_impl(impl)  # what is refused for its arguments moves no generator
        stream = stream._replace(seed=draw_seed(generator, logits.device))
    else:
        raise TypeError("neither seed nor generator is given: expected exactly one of them")
    symbols, log_probs = operator.run(impl, flat, count, stream)
    return Samples(symbols.reshape(count, flat.shape[0], *positions), log_probs)


# --- operators -----------------------------------------------------------------------------------


def _sample_torch(logits: Tensor, samples: int, stream: Stream) -> tuple[Tensor, Tensor]:
    return autograd.sample("torch", logits, samples, stream)


def _sample_triton(logits: Tensor, samples: int, stream: Stream) -> tuple[Tensor, Tensor]:
    return autograd.sample("triton", logits, samples, stream)


def _log_prob_torch(logits: Tensor, symbols: Tensor) -> Tensor:
    return autograd.log_prob("torch", logits, symbols)


def _log_prob_triton(logits: Tensor, symbols: Tensor) -> Tensor:
    return autograd.log_prob("triton", logits, symbols)


def _why_unsupported(logits: Tensor, *_: object) -> str | None:
    """Why the kernels cannot compute a call, or None."""
    if looked_into():
        return (
            "a transform of torch.func, forward mode or torch.jit.trace is active, and the kernels "
            "have no rule for it"
        )
    if logits.dtype == torch.float64:
        return "logits are float64, and the kernels compute in float32"
    return None


def _why_torch(*_: object) -> str | None:
    """Never: PyTorch needs a dozen launches and the memory of M·B·P numbers."""
    return None


_SCOPE = "fp32, fp16 and bf16 logits of any shape and strides"
_SAMPLE_CATEGORICAL = register(
    Operator(
        "sample_categorical",
        _sample_torch,
        TritonImplementation(lambda: _sample_triton, _SCOPE, _why_unsupported, _why_torch),
    )
)
_SAMPLE_BERNOULLI = register(
    Operator(
        "sample_bernoulli",
        _sample_torch,
        TritonImplementation(lambda: _sample_triton, _SCOPE, _why_unsupported, _why_torch),
    )
)
_LOG_PROB = register(
    Operator(
        "log_prob",
        _log_prob_torch,
        TritonImplementation(lambda: _log_prob_triton, _SCOPE, _why_unsupported, _why_torch),
    )
)
