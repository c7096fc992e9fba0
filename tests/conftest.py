import os

import pytest
import torch

if not torch.cuda.is_available():
    # Triton's interpreter runs the kernels on the CPU. The variable is read when a kernel is
    # decorated, so it is set before any test module is imported.
    os.environ.setdefault("TRITON_INTERPRET", "1")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if torch.cuda.is_available():
        return
    skip = pytest.mark.skip(reason="needs a CUDA device")
    for item in items:
        if "gpu" in item.keywords:
            item.add_marker(skip)


@pytest.fixture(autouse=True, scope="session")
def _one_thread_a_worker() -> None:
    # Several workers of pytest-xdist, with a thread pool each, would fight over the same cores.
    # By its variable and not by its fixture: the tests run without the plugin too.
    if "PYTEST_XDIST_WORKER" in os.environ:
        torch.set_num_threads(1)
