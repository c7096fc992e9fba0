import os
import signal

import pytest
import torch

# A job in the background and `nohup` leave Ctrl-C and the end of the terminal ignored, also for
# their children: what the tests say of signals would not hold there.
for ignored in (signal.SIGINT, signal.SIGHUP):
    if signal.getsignal(ignored) is signal.SIG_IGN:
        handler = signal.default_int_handler if ignored == signal.SIGINT else signal.SIG_DFL
        signal.signal(ignored, handler)

if not torch.cuda.is_available():
    # Triton's interpreter runs the kernels on the CPU. The variable is read when a kernel is
    # decorated, so it is set before any test module is imported.
    os.environ.setdefault("TRITON_INTERPRET", "1")


WITHOUT_GPU = pytest.StashKey[int]()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if torch.cuda.is_available():
        return
    left_out = [item for item in items if "gpu" in item.keywords]
    if left_out:
        # Not skipped: hundreds of lines would say the same.
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if "gpu" not in item.keywords]
        config.stash[WITHOUT_GPU] = len(left_out)


def pytest_report_collectionfinish(config: pytest.Config) -> list[str]:
    count = config.stash.get(WITHOUT_GPU, 0)
    return [f"{count} tests left out: they need a CUDA device"] if count else []


@pytest.fixture(autouse=True, scope="session")
def _one_thread_a_worker() -> None:
    # Several workers of pytest-xdist, with a thread pool each, would fight over the same cores.
    # By its variable and not by its fixture: the tests run without the plugin too.
    if "PYTEST_XDIST_WORKER" in os.environ:
        torch.set_num_threads(1)
