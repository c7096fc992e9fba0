from collections.abc import Iterator

import pytest
import torch.distributed as dist

from tests.kernels.peer.ranks import Ranks

pytestmark = pytest.mark.skipif(not dist.is_gloo_available(), reason="PyTorch without gloo")


@pytest.fixture
def ranks() -> Iterator[Ranks]:
    processes = Ranks(2)
    yield processes
    processes.stop()


def fails_in_one() -> None:
    assert dist.get_rank() == 0, "as it is to be"


@pytest.mark.slow
def test_what_fails_in_a_rank_fails_here(ranks: Ranks) -> None:
    with pytest.raises(AssertionError, match="as it is to be"):
        ranks.run(fails_in_one)
    assert ranks.run(dist.get_rank) == [0, 1]
