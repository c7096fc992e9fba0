"""All that this package takes from torch beside its public interface, with the reason for each.

Another version of torch may not have these: what then has to be changed stands here and nowhere
else.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, fx, nn
from torch.nn.utils.parametrizations import _SpectralNorm

# What `torch.nn.utils.parametrizations.spectral_norm` registers has no public name; without it
# nobody could hold its power iteration still, or begin it from other vectors.
SpectralNormalisation = _SpectralNorm
# What all batch normalisations are has no public name either.
AnyBatchNorm = nn.modules.batchnorm._BatchNorm


def recorded(value: object) -> bool:
    """Whether a trace records what is done to `value`: torch.fx, or torch.jit.

    Whether it is torch.jit has a public name, but one without types.
    """
    return isinstance(value, fx.Proxy) or torch._C._get_tracing_state() is not None


def lerp_all_(ours: Sequence[Tensor], theirs: Sequence[Tensor], share: Tensor) -> None:
    """`a.lerp_(b, share)` for all pairs, `share` 0-d; on a GPU a launch each."""
    torch._foreach_lerp_(list(ours), list(theirs), [share] * len(ours))


def clamp_all_(tensors: Sequence[Tensor], low: float, high: float) -> None:
    """`a.clamp_(low, high)` for all, in one launch each a group of tensors on a GPU."""
    torch._foreach_clamp_min_(list(tensors), low)
    torch._foreach_clamp_max_(list(tensors), high)
