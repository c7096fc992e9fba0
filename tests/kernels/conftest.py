from collections.abc import Iterator

import pytest
import torch


@pytest.fixture(autouse=True)
def _default_implementation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FUSEDGAN_IMPL", raising=False)


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    # Tensors here are small: waking a second thread takes longer than the work.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
