"""Which of three ways a call takes: what watches it decides how much of it must be seen."""

from typing import Literal

import torch
from torch import Tensor

from ..private import intercepted, looked_into

Way = Literal["eager", "library", "plain"]


def way_of(*tensors: Tensor) -> Way:
    """The way of a call with these tensors.

    - "plain": under a transform of torch.func, in forward mode, in a trace of torch.jit or where
      a tensor stands for a batch of gradients: torch's operators alone, `definitions`.
    - "library": in torch.compile, torch.export and make_fx, in FakeTensor mode and on the meta
      device: one operator of torch.library, which knows shapes without values.
    - "eager": otherwise; the library's boundary would cost more than a kernel.
    """
    compiling = torch.compiler.is_compiling()
    # Dynamo cannot ask tensors: it has no batches of gradients.
    if looked_into(*(() if compiling else tensors)):
        return "plain"
    if compiling or intercepted(*tensors) or any(tensor.is_meta for tensor in tensors):
        return "library"
    return "eager"
