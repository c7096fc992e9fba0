"""What training loops do to networks, done to ours and to the same ones of PyTorch's layers.

Each network computes in float64, so that the two differ by rounding alone.
"""

import copy
import inspect
import io
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn, update_bn
from torch.utils.checkpoint import (
    checkpoint,
    checkpoint_sequential,
    create_selective_checkpoint_contexts,
)
from torch.utils.flop_counter import FlopCounterMode

import kernels
from kernels import (
    BatchNormActivation,
    ConvBlock,
    ConvTransposeBlock,
    DiscriminatorLoss,
    FusedSequential,
    GeneratorLoss,
)
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

F64 = torch.float64


def generators() -> list[nn.Sequential]:
    return [side(F64).generator for side in SIDES]


def rounds(side: Side, count: int = 3) -> None:
    optimisers = tuple(
        torch.optim.Adam(network.parameters(), lr=1e-2)
        for network in (side.generator, side.discriminator)
    )
    for seed in range(count):
        play(side, optimisers, seed)  # type: ignore[arg-type]


# --- whole loops ---


def test_a_game() -> None:
    found = []
    for make in SIDES:
        side = make(F64)
        before = copy.deepcopy(states((side.generator, side.discriminator)))
        rounds(side)
        after = states((side.generator, side.discriminator))
        assert all(not torch.equal(before[name], after[name]) for name in after)
        found.append(after)
    match(*found)


def test_sgd_with_everything_that_loops_add() -> None:
    """Accumulated, clipped gradients, weight decay, a schedule, loaded state of an optimiser."""
    found = []
    for network in generators():
        optimiser = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, 4)
        norms = []
        for seed in range(4):
            for part in range(2):
                network(draw(2 * seed + part, 4)).square().mean().backward()
            norms.append(nn.utils.clip_grad_norm_(network.parameters(), 1e-2))
            nn.utils.clip_grad_value_(network.parameters(), 5e-3)
            optimiser.step()
            schedule.step()
            optimiser.zero_grad(set_to_none=seed % 2 == 0)
            optimiser.load_state_dict(copy.deepcopy(optimiser.state_dict()))
        assert min(norms) > 1e-2  # it did clip
        found.append({**network.state_dict(), "norms": torch.stack(norms)})
    match(*found)


def test_lbfgs() -> None:
    found = []
    for network in generators():
        optimiser = torch.optim.LBFGS(
            network.parameters(), max_iter=5, history_size=3, line_search_fn="strong_wolfe"
        )

        def closure(
            network: nn.Module = network, optimiser: torch.optim.Optimizer = optimiser
        ) -> Tensor:
            optimiser.zero_grad()
            loss: Tensor = (network(draw(0, 4)) - 0.5).square().mean()
            loss.backward()
            return loss

        before = optimiser.step(closure)
        assert closure() < before
        found.append(network.state_dict())
    match(*found, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast(dtype: torch.dtype) -> None:
    found = []
    for make in SIDES:
        side = make(torch.float32)
        with torch.autocast("cpu", dtype):
            fake = side.generator(draw(0, 4).float())
            logits = side.discriminator(fake)
            loss = side.generator_loss(logits.float())
        assert (fake.dtype, logits.dtype) == (dtype, dtype)
        loss.backward()
        assert {p.grad.dtype for p in side.generator.parameters() if p.grad is not None} == {
            torch.float32
        }
        found.append({"loss": loss.detach(), **gradients(side.generator)})
    # Of numbers with 8 or 11 bits, through five layers.
    match(*found, rtol=0.05, atol=5e-3)


@pytest.mark.parametrize("impl", ["auto", "triton"])
def test_a_scaled_loss(impl: str) -> None:
    """As of a GradScaler: gradients times the scale, and infinite ones through every layer."""
    if impl == "triton":
        pytest.importorskip("triton")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    network = ours(torch.float32).generator.to(device)
    x = draw(0, 2).float().to(device)
    with kernels.use_impl(impl):  # type: ignore[arg-type]
        y = network(x)
    y.mean().backward(retain_graph=True)
    plain = {name: value.clone() for name, value in gradients(network).items()}
    network.zero_grad()
    (y.mean() * 2.0**16).backward(retain_graph=True)
    scaled = {name: value / 2.0**16 for name, value in gradients(network).items()}
    match(scaled, plain, rtol=1e-5, atol=1e-9)
    network.zero_grad()
    (y.mean() * float("inf")).backward()
    assert not any(value.isfinite().all() for value in gradients(network).values())


# --- activation checkpointing ---


@pytest.mark.parametrize("use_reentrant", [False, True])
@pytest.mark.parametrize("training", [True, False])
def test_checkpointed(use_reentrant: bool, training: bool) -> None:
    """Under recomputation PyTorch's statistics move twice, and so do ours."""
    found = []
    for network in generators():

        def run(x: Tensor, network: nn.Sequential = network) -> Tensor:
            y: Tensor = checkpoint(network, x, use_reentrant=use_reentrant)
            return y

        network.train(training)
        x = draw(0, 4).requires_grad_()
        y = run(x)
        y.square().sum().backward()
        assert x.grad is not None
        found.append({"x": x.grad, **gradients(network), **network.state_dict()})
    match(*found)
    assert int(found[0]["0.1.num_batches_tracked"]) == 2 * training


@pytest.mark.parametrize("use_reentrant", [False, True])
def test_checkpointed_in_segments(use_reentrant: bool) -> None:
    found = []
    for make in SIDES:
        network = make(F64).discriminator
        images = draw(0, 4, IMAGE).requires_grad_()
        checkpoint_sequential(network, 2, images, use_reentrant=use_reentrant).sum().backward()
        assert images.grad is not None
        found.append({"x": images.grad, **gradients(network), **network.state_dict()})
    match(*found)


def test_checkpointed_selectively() -> None:
    def contexts() -> object:
        return create_selective_checkpoint_contexts([torch.ops.aten.convolution.default])

    found = []
    for network in generators():
        x = draw(0, 4).requires_grad_()
        y = checkpoint(network, x, use_reentrant=False, context_fn=contexts)
        y.square().sum().backward()
        assert x.grad is not None
        found.append({"x": x.grad, **gradients(network), **network.state_dict()})
    match(*found)


@pytest.mark.parametrize("use_reentrant", [False, True])
def test_samples_are_drawn_again_as_they_were(use_reentrant: bool) -> None:
    logits = draw(0, 3, (5,))
    found = []
    for again in (False, True):
        leaf = logits.clone().requires_grad_()

        def loss(leaf: Tensor) -> Tensor:
            drawn = kernels.sample_categorical(leaf, 4, 7)
            return drawn.log_probs * drawn.symbols.double().mean()

        value = checkpoint(loss, leaf, use_reentrant=use_reentrant) if again else loss(leaf)
        value.sum().backward()
        assert leaf.grad is not None
        found.append((value.detach(), leaf.grad))
    torch.testing.assert_close(found[1], found[0])


# --- averages and copies ---


@pytest.mark.parametrize("use_buffers", [False, True])
def test_averages_of_weights(use_buffers: bool) -> None:
    found = []
    for make in SIDES:
        side = make(F64)
        average = AveragedModel(
            side.generator, multi_avg_fn=get_ema_multi_avg_fn(0.7), use_buffers=use_buffers
        )
        for _ in range(3):
            rounds(side, 1)
            average.update_parameters(side.generator)
        update_bn([draw(seed, 4) for seed in range(3)], average)
        found.append({**average.state_dict(), "y": average.eval()(draw(9, 4))})
        assert not torch.equal(
            average.module[0][0].weight,
            side.generator[0][0].weight,  # type: ignore[index]
        )
    match(*found)


def test_an_average_by_hand() -> None:
    found = []
    for make in SIDES:
        side = make(F64)
        average = copy.deepcopy(side.generator).requires_grad_(False).eval()
        rounds(side)
        with torch.no_grad():
            for mean, value in zip(average.parameters(), side.generator.parameters(), strict=True):
                mean.lerp_(value, 0.1)
            for mean, value in zip(average.buffers(), side.generator.buffers(), strict=True):
                mean.copy_(value)
        found.append({**average.state_dict(), "y": average(draw(9, 4))})
    match(*found)


def saved_and_loaded(value: nn.Module) -> nn.Module:
    file = io.BytesIO()
    torch.save(value, file)
    file.seek(0)
    loaded: nn.Module = torch.load(file, weights_only=False)
    return loaded


COPIES: list[Callable[[nn.Module], nn.Module]] = [
    copy.deepcopy,
    lambda module: pickle.loads(pickle.dumps(module)),
    saved_and_loaded,
]
MODULES: list[Callable[[], nn.Module]] = [
    lambda: ConvTransposeBlock(6, 5, negative_slope=0.3, activation="leaky_relu", eps=0.1),
    lambda: ConvBlock(6, 5, norm="batch", activation=nn.SiLU(), impl="torch"),
    lambda: FusedSequential(ConvTransposeBlock(6, 4), BatchNormActivation(4, "tanh")),
]


@pytest.mark.parametrize("copied", COPIES, ids=["deepcopy", "pickle", "torch.save"])
@pytest.mark.parametrize("make", MODULES, ids=["transposed", "direct", "sequence"])
def test_copies(copied: Callable[[nn.Module], nn.Module], make: Callable[[], nn.Module]) -> None:
    module = make().double()
    module(draw(1, 4))  # statistics that are not the initial ones
    twin = copied(module)
    assert type(twin) is type(module)
    assert repr(twin) == repr(module)
    x = draw(0, 4)
    before = copy.deepcopy(module.state_dict())
    found = step(twin, x)
    match(dict(module.state_dict()), dict(before), rtol=0, atol=0)  # nothing is shared
    match(found, step(module, x), rtol=0, atol=0)


@pytest.mark.parametrize("copied", COPIES, ids=["deepcopy", "pickle", "torch.save"])
def test_copies_of_losses(copied: Callable[[nn.Module], nn.Module]) -> None:
    real, fake = draw(0, 5, ()), draw(1, 5, ())
    discriminator = DiscriminatorLoss("least_squares", a=-1.0, b=0.5, return_statistics=True)
    generator = GeneratorLoss("non_saturating", reduction="sum")
    assert repr(copied(discriminator)) == repr(discriminator)
    torch.testing.assert_close(copied(discriminator)(real, fake), discriminator(real, fake))
    torch.testing.assert_close(copied(generator)(fake), generator(fake))


def test_safetensors(tmp_path: Path) -> None:
    network, reference = ours(), textbook().generator
    rounds(network, 1)
    generator = network.generator
    path = tmp_path / "generator.safetensors"
    safetensors.torch.save_file(generator.state_dict(), path)
    state = generator.state_dict()
    loaded = safetensors.torch.load_file(path)
    match({name: loaded[name] for name in state}, dict(state), rtol=0, atol=0)
    # Into PyTorch's layers, and back by the functions for whole modules.
    safetensors.torch.load_model(reference, path)
    safetensors.torch.save_model(reference, str(path))
    back = ours().generator
    missing, unexpected = safetensors.torch.load_model(back, path)
    assert not missing
    assert not unexpected
    match(dict(back.state_dict()), dict(state), rtol=0, atol=0)
    match({"y": back(draw(0, 4))}, {"y": reference(draw(0, 4))})


# --- parameters as vectors, dictionaries and batches ---


def test_parameters_as_a_vector() -> None:
    first, second = generators()
    vector = nn.utils.parameters_to_vector(first.parameters())
    assert torch.equal(vector, nn.utils.parameters_to_vector(second.parameters()))
    assert len(vector) == sum(p.numel() for p in first.parameters())
    nn.utils.vector_to_parameters(vector * 2, first.parameters())
    nn.utils.vector_to_parameters(vector * 2, second.parameters())
    found = [step(network, draw(0, 4)) for network in (first, second)]
    match(*found)
    flat = [
        torch.cat([p.grad.view(-1) for p in network.parameters() if p.grad is not None])
        for network in (first, second)
    ]
    torch.testing.assert_close(*flat)


def test_functional_calls() -> None:
    """Statistics move in the buffers that are handed over, and not in the module's."""
    found = []
    for network in generators():
        parameters = {name: 2 * p.detach() for name, p in network.named_parameters()}
        x = draw(0, 4)

        def loss(
            parameters: dict[str, Tensor],
            buffers: dict[str, Tensor],
            network: nn.Module = network,
            x: Tensor = x,
        ) -> tuple[Tensor, dict[str, Tensor]]:
            y: Tensor = torch.func.functional_call(network, (parameters, buffers), (x,))
            return y.square().sum(), buffers

        before = copy.deepcopy(dict(network.state_dict()))
        buffers = {name: value.clone() for name, value in network.named_buffers()}
        slopes, moved = torch.func.grad(loss, has_aux=True)(parameters, buffers)
        match(dict(network.state_dict()), before, rtol=0, atol=0)
        found.append({**slopes, **moved})
        with pytest.raises(RuntimeError, match="mutate a captured Tensor"):
            torch.func.grad(lambda p, loss=loss: loss(p, {})[0])(parameters)
    match(*found)
    assert int(found[0]["0.1.num_batches_tracked"]) == 1


def test_gradients_of_each_example_and_ensembles() -> None:
    found = []
    for network in generators():
        network.eval()
        x = draw(0, 4)
        parameters = {name: p.detach() for name, p in network.named_parameters()}

        def loss(parameters: dict[str, Tensor], x: Tensor, network: nn.Module = network) -> Tensor:
            y: Tensor = torch.func.functional_call(network, parameters, (x[None],))
            return y.square().sum()

        each = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0))(parameters, draw(0, 3))
        assert all(len(value) == 3 for value in each.values())
        members = torch.func.stack_module_state([network, copy.deepcopy(network).double()])

        def member(
            parameters: dict[str, Tensor],
            buffers: dict[str, Tensor],
            network: nn.Module = network,
            x: Tensor = x,
        ) -> Tensor:
            y: Tensor = torch.func.functional_call(network, (parameters, buffers), (x,))
            return y

        found.append({**each, "ensemble": torch.func.vmap(member)(*members).detach()})
    match(*found)


# --- looking in ---


@pytest.mark.parametrize(
    "make", [*MODULES, DiscriminatorLoss, GeneratorLoss, lambda: BatchNormActivation(3)]
)
def test_every_attribute_can_be_read(make: Callable[[], nn.Module]) -> None:
    module = make()
    assert dict(inspect.getmembers(module))["training"] is True
    if isinstance(module, nn.Sequential):  # without layers, too
        while len(module):
            module.pop(-1)
        assert not hasattr(module, "weight")
        assert dict(inspect.getmembers(module))["training"] is True


def test_a_hook_on_every_module_sees_what_it_gives() -> None:
    """As summaries of networks and extractors of features work."""

    def watched(network: nn.Module) -> tuple[list[tuple[str, Tensor]], int]:
        seen: list[tuple[str, Tensor]] = []
        for name, module in network.named_modules():
            module.register_forward_hook(lambda _, __, y, name=name: seen.append((name, y)))
        network(draw(0, 4, IMAGE))
        return seen, sum(p.numel() for p in network.parameters() if p.requires_grad)

    (first, count), (second, expected) = (watched(side(F64).discriminator) for side in SIDES)
    assert count == expected
    assert [name for name, _ in first] == [name for name, _ in second]
    assert len(first) == 10
    for (name, found), (_, value) in zip(first, second, strict=True):
        torch.testing.assert_close(found, value, msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("backward", [True, False])
def test_operations_are_counted(training: bool, backward: bool) -> None:
    counts = []
    for make in SIDES:
        side = make(F64)
        for network in (side.generator, side.discriminator):
            network.train(training)
        with FlopCounterMode(display=False) as counter:
            logits = side.discriminator(side.generator(draw(0, 4).requires_grad_()))
            if backward:
                logits.sum().backward()
        counts.append(counter.get_total_flops())
    assert counts[0] == counts[1]
    # Two operations a multiplication by hand: pixels of the small image · 16 taps · Cin · Cout.
    forward = 2 * 4 * (16 * (4**2 * 6 * 8 + 8**2 * 8 * 3 + 8**2 * 3 * 5 + 4**2 * 5 * 7) + 7 * 16)
    assert counts[0] == (3 if backward else 1) * forward


def test_weights_that_torchs_tools_fuse() -> None:
    for transpose, make in ((True, ConvTransposeBlock), (False, ConvBlock)):
        block = make(6, 5, norm="batch", activation="relu").double()
        for seed in range(3):
            block(draw(seed, 4))
        block.eval()
        expected = block(draw(9, 4))
        fused = nn.Sequential(
            nn.utils.fusion.fuse_conv_bn_eval(block[0], block[1], transpose), block[2]
        )
        torch.testing.assert_close(fused(draw(9, 4)), expected)


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor:UserWarning")
def test_quantised_dense_layers() -> None:
    """Dynamic quantisation replaces dense layers; the blocks around them stay what they are."""
    pytest.importorskip("torch.ao.quantization")
    network = ours(torch.float32).discriminator.eval()
    images = draw(0, 4, IMAGE).float()
    with pytest.warns(DeprecationWarning, match="quantization is deprecated"):
        quantised = torch.ao.quantization.quantize_dynamic(network, {nn.Linear})
    assert isinstance(quantised[3], torch.ao.nn.quantized.dynamic.Linear)
    assert isinstance(quantised[0], ConvBlock)
    torch.testing.assert_close(quantised(images), network(images), rtol=0.05, atol=0.02)
