"""A driver that lets Triton's own JIT bind, specialise and compile every launch, and launches none.

For a machine without the GPU that is compiled for: tensors on the CPU stand for those on it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import torch

# Of an H100, in whose place launches are compiled: multiprocessors, bytes of shared memory.
PROCESSORS = 132
SHARED_MEMORY = 227 * 1024
# Of CUDA: the most programs of a grid in each direction.
_GRID = (2**31 - 1, 2**16 - 1, 2**16 - 1)


class DryDriver:
    """What Triton asks of its driver, for one architecture.

    Attributes:
        architecture: compute capability, 90 for 9.0.
        shared: bytes of shared memory that a program may have.
    """

    def __init__(self, architecture: int, shared: int = SHARED_MEMORY) -> None:
        self.architecture = architecture
        self.shared = shared
        self.utils = self  # Triton asks half of its questions there
        self.launcher_cls = self.launcher

    def launcher(self, source: Any, metadata: Any) -> Callable[..., None]:
        """What launches one kernel: a function of the grid and more."""

        def launch(x: int, y: int, z: int, *rest: Any) -> None:
            for size, most in zip((x, y, z), _GRID, strict=True):
                if not 0 < size <= most:
                    raise ValueError(f"{metadata.name}: a grid of {x}×{y}×{z}")
            self.launched(metadata, (x, y, z), rest)

        return launch

    def launched(self, metadata: Any, grid: tuple[int, int, int], rest: tuple[Any, ...]) -> None:
        """A kernel would be launched now. For who watches."""

    def load_binary(self, name: str, *_: object) -> tuple[int, int, int, int, int]:
        """In place of loading machine code: as if it needed nothing."""
        return 1, 1, 0, 0, 1024  # module, function, registers, spills, threads at most

    def get_device_properties(self, device: int) -> dict[str, int]:
        """What a program may have at most."""
        return {
            "max_shared_mem": self.shared,
            "multiprocessor_count": PROCESSORS,
            "warpSize": 32,
        }

    def get_current_target(self) -> Any:
        """What to compile for."""
        from triton.backends.compiler import GPUTarget

        return GPUTarget("cuda", self.architecture, 32)

    def get_current_device(self) -> int:
        """The device's number: one of its own, since Triton keeps kernels by it."""
        return self.architecture

    def get_current_stream(self, device: int | None = None) -> int:
        """The default stream."""
        return 0

    def get_active_torch_device(self) -> torch.device:
        """Where the tensors are."""
        return torch.device("cpu")


def install(driver: DryDriver) -> None:
    """Have all launches of this process compiled for the driver's architecture, and none run.

    Raises:
        RuntimeError: Triton's interpreter is on (`TRITON_INTERPRET=1`).
    """
    if os.environ.get("TRITON_INTERPRET") == "1":
        raise RuntimeError(
            "TRITON_INTERPRET is 1: interpreted kernels cannot be compiled; unset it before "
            "the process starts"
        )
    from triton.runtime import driver as drivers

    drivers.set_active(driver)
