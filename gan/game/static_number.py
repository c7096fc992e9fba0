"""Numbers that the host works out between rounds, where a recorded round finds them.

A Python number that a round uses is part of its recording and stays what it was. One in a tensor is
read anew at every replay.
"""

from __future__ import annotations

import torch


class StaticNumber:
    """A number on a device, in a tensor that stays where it is.

    Attributes:
        tensor: 0-d.
    """

    def __init__(self, value: float, dtype: torch.dtype, device: torch.device) -> None:
        self.tensor = torch.full((), value, dtype=dtype, device=device)
        self._value = value

    def set(self, value: float) -> None:
        """Let the rounds from here on read `value`; nothing waits for the device."""
        if value != self._value:
            self.tensor.fill_(value)
            self._value = value
