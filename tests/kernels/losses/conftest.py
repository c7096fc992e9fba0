import pytest
import torch

# Natively on a GPU, in Triton's interpreter on a machine without one: never both, since the
# interpreter is chosen when a kernel is decorated.
DEVICES = [pytest.param("cuda", marks=pytest.mark.gpu) if torch.cuda.is_available() else "cpu"]


@pytest.fixture(params=DEVICES)
def device(request: pytest.FixtureRequest) -> torch.device:
    """Where `impl="triton"` runs."""
    pytest.importorskip("triton")
    return torch.device(request.param)


@pytest.fixture
def many(device: torch.device, monkeypatch: pytest.MonkeyPatch) -> int:
    """So many logits that each program takes several blocks, and so does the one that adds up."""
    if device.type == "cuda":
        return 9 * 2**20 + 7
    from kernels.losses import tiles

    # The interpreter takes as long for a small block as for a large one.
    small = {"ALONE": 64, "SMALL": 32, "BLOCK": 32, "MOST_PROGRAMS": 3, "COMBINE_BLOCK": 2}
    for name, value in small.items():
        monkeypatch.setattr(tiles, name, value)
    return 301
