"""A driver that lets Triton's own JIT bind, specialise and compile every launch, and launches none.

For a machine without the GPU that is compiled for: tensors on the CPU stand for those on it.
"""

from __future__ import annotations

import os
from typing import Any

import torch

# Of an H100: what a launch asks a driver for.
PROPERTIES = {
    "max_shared_mem": 232448,
    "multiprocessor_count": 132,
    "warpSize": 32,
    "max_num_regs": 65536,
    "sm_clock_rate": 1980000,
    "mem_clock_rate": 2619000,
    "mem_bus_width": 5120,
}


class _Launcher:
    def __init__(self, source: Any, metadata: Any) -> None:
        self.name = metadata.name

    def __call__(self, x: int, y: int, z: int, *rest: Any) -> None:
        if not (0 < x < 2**31 and 0 < y < 2**16 and 0 < z < 2**16):
            raise ValueError(f"{self.name}: the grid is {(x, y, z)}, which no GPU launches")


class _Utils:
    def get_device_properties(self, device: int) -> dict[str, int]:
        return dict(PROPERTIES)

    def load_binary(self, *_: Any) -> tuple[int, int, int, int, int]:
        return 1, 1, 0, 0, 1024

    def unload_module(self, *_: Any) -> None:
        pass

    def fill_tma_descriptor(self, *_: Any) -> int:
        return 0


class DryDriver:
    """Stands in for Triton's driver of one architecture."""

    launcher_cls = _Launcher
    utils = _Utils()

    def __init__(self, architecture: int) -> None:
        from triton.backends.compiler import GPUTarget

        self._target = GPUTarget("cuda", architecture, 32)

    def get_current_device(self) -> int:
        """The one there is."""
        return 0

    def set_current_device(self, device: int) -> None:
        """There is one."""

    def get_current_stream(self, device: int | None = None) -> int:
        """The default one."""
        return 0

    def get_current_target(self) -> Any:
        """What is compiled for."""
        return self._target

    def get_active_torch_device(self) -> torch.device:
        """Where tensors are."""
        return torch.device("cpu")

    def get_device_interface(self) -> Any:
        """Of torch."""
        return torch.cuda

    def get_device_capability(self, *_: Any) -> tuple[int, int]:
        """Of the architecture."""
        architecture: int = self._target.arch
        return divmod(architecture, 10)

    @staticmethod
    def is_active() -> bool:
        """It is."""
        return True


def install(architecture: int) -> None:
    """Have all launches of this process compiled for `architecture`, and none run.

    Raises:
        RuntimeError: Triton's interpreter is on (`TRITON_INTERPRET=1`).
    """
    if os.environ.get("TRITON_INTERPRET") == "1":
        raise RuntimeError(
            "TRITON_INTERPRET is 1: interpreted kernels cannot be compiled; unset it before "
            "the process starts"
        )
    from triton.runtime import driver

    driver.set_active(DryDriver(architecture))
