"""Training in two processes: as the same networks of PyTorch's layers are trained.

What is compared is compared in the ranks, where a failed assertion is the error of the test.
"""

from collections.abc import Callable, Iterator

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import (
    apply_activation_checkpointing,
)
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.distributed.optim import ZeroRedundancyOptimizer
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel

from kernels.conv_transpose.blocks import FusedBlock
from tests.kernels.peer.ranks import Ranks
from tests.kernels.peer.textbook import (
    IMAGE,
    SIDES,
    Side,
    draw,
    gradients,
    match,
    ours,
    play,
    states,
    step,
    textbook,
)

pytestmark = pytest.mark.skipif(not dist.is_gloo_available(), reason="PyTorch without gloo")
WORLD = 2


@pytest.fixture(scope="module")
def ranks() -> Iterator[Ranks]:
    processes = Ranks(WORLD)
    yield processes
    processes.stop()


def of_all_ranks(value: Tensor) -> list[Tensor]:
    gathered = [torch.empty_like(value) for _ in range(WORLD)]
    dist.all_gather(gathered, value.contiguous())
    return gathered


# --- DistributedDataParallel ---


def gradients_are_averaged(options: dict[str, bool]) -> None:
    x = draw(dist.get_rank(), 4)
    found = [
        step(DistributedDataParallel(side(torch.float64).generator, **options), x)  # type: ignore[arg-type]
        for side in SIDES
    ]
    match(*found)
    # And not by anything of DistributedDataParallel: the mean of what each rank has by itself.
    alone = step(ours().generator, x)
    for name, gradient in alone.items():
        if name.startswith("gradient "):
            averaged = found[0][f"gradient module.{name.removeprefix('gradient ')}"]
            torch.testing.assert_close(averaged, torch.stack(of_all_ranks(gradient)).mean(0))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"gradient_as_bucket_view": True, "static_graph": True},
        {"find_unused_parameters": True, "broadcast_buffers": False},
    ],
    ids=lambda options: "-".join(options) or "default",
)
def test_distributed_data_parallel(ranks: Ranks, options: dict[str, bool]) -> None:
    ranks.run(gradients_are_averaged, options)


def parallel(side: Side) -> Side:
    # Three passes of the discriminator a round: buffers that are broadcast before each would
    # change under those that backward still needs.
    generator, discriminator = (
        DistributedDataParallel(network, broadcast_buffers=False)
        for network in (side.generator, side.discriminator)
    )
    return side._replace(generator=generator, discriminator=discriminator)


def gan_in_ranks(kind: str) -> None:
    found = []
    for make in SIDES:
        side = parallel(make(torch.float64))
        networks = (side.generator, side.discriminator)
        if kind == "zero":
            optimisers = tuple(
                ZeroRedundancyOptimizer(
                    network.parameters(), optimizer_class=torch.optim.Adam, lr=1e-2
                )
                for network in networks
            )
        else:
            optimisers = tuple(
                torch.optim.Adam(network.parameters(), lr=1e-2) for network in networks
            )
        before = {name: value.clone() for name, value in states(networks).items()}
        for round_ in range(3):
            play(side, optimisers, seed=10 * round_ + dist.get_rank())  # type: ignore[arg-type]
        after = states(networks)
        assert all(not torch.equal(after[name], before[name]) for name in before)
        found.append(after)
    match(*found)
    for name, value in found[0].items():
        if "running" not in name:
            first, second = of_all_ranks(value)
            assert torch.equal(first, second), name


@pytest.mark.parametrize("kind", ["adam", "zero"])
def test_a_gan_in_two_ranks(ranks: Ranks, kind: str) -> None:
    ranks.run(gan_in_ranks, kind)


def accumulates_and_penalises() -> None:
    """R1 through the wrapped discriminator, over two batches of which the first is not reduced."""
    found = []
    for make in SIDES:
        network = DistributedDataParallel(make(torch.float64).discriminator)
        for place in range(2):
            images = draw(7 * place + dist.get_rank(), 4, IMAGE).requires_grad_()

            def penalised(images: Tensor = images, network: nn.Module = network) -> None:
                logits = network(images)
                (slope,) = torch.autograd.grad(logits.sum(), images, create_graph=True)
                (slope.square().sum() + logits.square().mean()).backward()

            if place == 0:
                with network.no_sync():
                    penalised()
            else:
                penalised()
        found.append(gradients(network))
    match(*found)


def test_accumulated_gradients_with_a_penalty(ranks: Ranks) -> None:
    ranks.run(accumulates_and_penalises)


# --- fully_shard ---


def whole(network: nn.Module) -> dict[str, Tensor]:
    """The state and the gradients of a sharded network, gathered."""
    found = {**network.state_dict(), **gradients(network)}
    return {
        name: value.full_tensor() if isinstance(value, DTensor) else value
        for name, value in found.items()
    }


def is_block(module: nn.Module) -> bool:
    """Ours, or the `nn.Sequential` that stands for it; a sharded class has another name."""
    inner = [child for child in module.children() if not isinstance(child, nn.Sequential)]
    return isinstance(module, FusedBlock) or (
        isinstance(module, nn.Sequential) and len(inner) == len(list(module.children()))
    )


def is_convolution(module: nn.Module) -> bool:
    return isinstance(module, (nn.Conv2d, nn.ConvTranspose2d))


UNITS: dict[str, Callable[[nn.Module], bool]] = {
    "whole": lambda module: False,
    "blocks": is_block,
    "convolutions": is_convolution,
}


def sharded(units: str, half: bool, checkpointed: bool) -> None:
    mesh = init_device_mesh("cpu", (WORLD,))
    policy = (
        MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32)
        if half
        else MixedPrecisionPolicy()
    )
    dtype = torch.float32 if half else torch.float64
    found = []
    for make in SIDES:
        network = make(dtype).generator
        if checkpointed:
            apply_activation_checkpointing(network, check_fn=is_block)
        for module in list(network.modules()):
            if module is not network and UNITS[units](module):
                fully_shard(module, mesh=mesh, mp_policy=policy)
        # Batch normalisation keeps fp32: on the CPU PyTorch's takes no mixture.
        fully_shard(network, mesh=mesh)
        optimiser = torch.optim.Adam(network.parameters(), lr=1e-2)
        for seed in range(3):
            optimiser.zero_grad()
            y = network(draw(10 * seed + dist.get_rank(), 4).to(dtype))
            y.square().mean().backward()
            optimiser.step()
        assert all(isinstance(parameter, DTensor) for parameter in network.parameters())
        found.append(whole(network))
    if half:
        match(*found, rtol=1e-2, atol=1e-2)
    else:
        match(*found)


@pytest.mark.parametrize("units", UNITS)
def test_fully_sharded(ranks: Ranks, units: str) -> None:
    ranks.run(sharded, units, False, False)


def test_fully_sharded_in_mixed_precision(ranks: Ranks) -> None:
    ranks.run(sharded, "convolutions", True, False)


def test_fully_sharded_and_checkpointed(ranks: Ranks) -> None:
    ranks.run(sharded, "blocks", False, True)


def test_both_sides_begin_alike() -> None:
    first, second = ours(), textbook()
    match(
        states((first.generator, first.discriminator)),
        states((second.generator, second.discriminator)),
    )
