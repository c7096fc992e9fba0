"""Which device the work runs on, and where its random numbers come from."""

from __future__ import annotations

import hashlib
import os

import torch

from gan.errors import ConfigError


def pick_device(name: str) -> torch.device:
    """The device that `runtime.device` names; `auto` is a GPU if there is one, else the CPU.

    Raises:
        ConfigError: the named device is not there.
    """
    _settle_vector_functions()
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(name)
    if device.type == "cuda":
        count = torch.cuda.device_count()
        if (device.index or 0) >= count:
            raise ConfigError(
                f"runtime.device: found {name!r}, but there are {count} CUDA devices; "
                "expected auto, cpu or one of those"
            )
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise ConfigError("runtime.device: found 'mps', but there is none; expected auto or cpu")
    return device


def _settle_vector_functions() -> None:
    """Let one thread make the first call of MKL's tanh, which PyTorch's is on the CPU.

    When several threads made it at once on a busy machine, one in some hundred processes got
    other last bits from that call, and a run that then differed from all others. A tensor this
    small is computed by one thread.
    """
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        torch.tanh(torch.zeros(1, dtype=dtype))


def stream_seed(seed: int, stream: str) -> int:
    """A seed below 2⁶³ for one named stream of random numbers of a run.

    Streams of the same run, and the same stream of runs with neighbouring seeds, are unrelated.
    """
    digest = hashlib.sha256(f"{seed}/{stream}".encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


def computes_in_bf16(device: torch.device) -> bool:
    """Whether `device` multiplies in bf16 by its own instructions.

    A CPU without them emulates, and is several times slower than in fp32.
    """
    if device.type != "cpu":
        return True
    # A limit that the user has put on oneDNN takes instructions away as an older CPU would.
    limit = os.environ.get("ONEDNN_MAX_CPU_ISA", "ALL").upper()
    if not any(part in limit for part in ("ALL", "DEFAULT", "BF16", "FP16", "AMX", "AVX10")):
        return False
    probes = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, name, bool)() for name in probes)
