import pytest
import torch

from gan.errors import ConfigError
from gan.runtime import computes_in_bf16, pick_device, stream_seed


def test_auto_is_the_cpu_without_a_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert pick_device("auto") == torch.device("cpu")


def test_a_device_that_is_not_there_is_named(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(ConfigError, match=r"runtime.device: found 'cuda:1'.*1 CUDA devices"):
        pick_device("cuda:1")
    assert pick_device("cuda:0") == torch.device("cuda:0")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(ConfigError, match="found 'mps'"):
        pick_device("mps")


def test_streams_are_apart_and_fixed():
    seeds = {stream_seed(seed, name) for seed in range(50) for name in ("order", "latent")}
    assert len(seeds) == 100
    assert all(0 <= seed < 2**63 for seed in seeds)
    # A changed derivation would silently change every published result.
    assert stream_seed(0, "latent") == 638393014145578779


def test_a_cpu_without_bf16_instructions_is_known(monkeypatch):
    cpu = torch.device("cpu")
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    for native in (True, False):
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda native=native: native)
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
        assert computes_in_bf16(cpu) == native
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: True)
    assert computes_in_bf16(cpu)
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX512_CORE_BF16")
    assert computes_in_bf16(cpu)
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX512_CORE")
    assert not computes_in_bf16(cpu)
    assert computes_in_bf16(torch.device("cuda"))


def test_one_thread_makes_the_first_tanh(monkeypatch):
    sizes = []
    original = torch.tanh
    monkeypatch.setattr(torch, "tanh", lambda x: (sizes.append(x.numel()), original(x))[1])
    pick_device("cpu")
    assert sizes
    assert max(sizes) == 1  # below the size from which PyTorch shares work among threads
