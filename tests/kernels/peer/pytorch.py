"""PyTorch's own cases for its operators and modules, by which it tests itself.

They are no part of its public interface. What importing them changes in the process is put back.
"""

import functools
from typing import Any

import pytest
import torch


@functools.cache
def _databases() -> tuple[list[Any], list[Any]]:
    pytest.importorskip("expecttest", reason="PyTorch's own cases import it")
    from torch.testing._internal.common_methods_invocations import op_db
    from torch.testing._internal.common_modules import module_db

    # Importing these forbids the whole process to set torch.backends' flags.
    flag = "__allow_nonbracketed_mutation_flag"
    assert hasattr(torch.backends, flag)
    setattr(torch.backends, flag, True)
    return op_db, module_db


def operator(name: str) -> Any:
    """The entry of an operator, "nn.functional.conv2d": dtypes, sample inputs, error inputs."""
    (found,) = (entry for entry in _databases()[0] if entry.name == name)
    return found


def module(name: str) -> Any:
    """The entry of a module, "nn.Conv2d"."""
    (found,) = (entry for entry in _databases()[1] if entry.name == name)
    return found
