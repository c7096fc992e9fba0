from collections.abc import Callable

import pytest
import torch
from torch import nn

from gan.game.optimisers import NAMES, load_optimiser_state, make_optimiser, optimiser_state
from gan.schedules import set_learning_rate

Maker = Callable[[list[nn.Parameter]], torch.optim.Optimizer]

TORCHS: dict[str, Maker] = {
    "adam": lambda p: torch.optim.Adam(p, lr=0.01, betas=(0.5, 0.9)),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.01, betas=(0.5, 0.9), weight_decay=0.1),
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=0.01, alpha=0.9),
}


def parameters() -> list[nn.Parameter]:
    rng = torch.Generator().manual_seed(0)
    return [nn.Parameter(torch.randn(shape, generator=rng)) for shape in ((3, 4), (5,))]


@pytest.mark.parametrize("name", TORCHS)
def test_ten_steps_are_torchs(name: str):
    ours, theirs = parameters(), parameters()
    decay = 0.1 if name == "adamw" else 0.0
    optimiser = make_optimiser(name, ours, learning_rate=0.01, betas=[0.5, 0.9], weight_decay=decay)
    reference = TORCHS[name](theirs)
    for step in range(10):
        for values in (ours, theirs):
            for value in values:
                value.grad = torch.sin(value.detach() * (step + 1))
        optimiser.step()
        reference.step()
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other)
        assert not torch.equal(mine, parameters()[0][: mine.shape[0]])


def test_the_first_step_by_hand():
    # From g = (1, −2): Adam moves by the sign; RMSProp by g/√((1 − α) g²) = sign/√(1 − α).
    def moved(name: str) -> list[float]:
        value = nn.Parameter(torch.zeros(2))
        value.grad = torch.tensor([1.0, -2.0])
        make_optimiser(name, [value], learning_rate=0.1, betas=[0.0, 0.99]).step()
        return value.tolist()

    assert moved("adam") == pytest.approx([-0.1, 0.1], rel=1e-5)
    assert moved("rmsprop") == pytest.approx([-1.0, 1.0], rel=1e-5)


@pytest.mark.parametrize("name", TORCHS)
def test_a_state_goes_on_where_it_was(name: str):
    def play(values: list[nn.Parameter], optimiser: torch.optim.Optimizer, steps: int) -> None:
        for _ in range(steps):
            for value in values:
                value.grad = torch.cos(value.detach())
            optimiser.step()

    whole = parameters()
    play(whole, make_optimiser(name, whole, learning_rate=0.01, betas=[0.5, 0.9]), 6)
    first = parameters()
    before = make_optimiser(name, first, learning_rate=0.01, betas=[0.5, 0.9])
    play(first, before, 3)
    second = make_optimiser(name, first, learning_rate=0.01, betas=[0.5, 0.9])
    second.load_state_dict(before.state_dict())
    play(first, second, 3)
    assert all(torch.equal(a, b) for a, b in zip(whole, first, strict=True))


def test_what_makes_no_sense_is_refused():
    with pytest.raises(ValueError, match="no optimiser 'sgd'; known: adam, adamw, rmsprop"):
        make_optimiser("sgd", parameters(), learning_rate=0.1, betas=[0.5, 0.9])
    with pytest.raises(ValueError, match=r"betas are \[0.5\]: expected two"):
        make_optimiser("adam", parameters(), learning_rate=0.1, betas=[0.5])
    with pytest.raises(ValueError, match=r"weight_decay is 0\.1, but the optimiser is adam"):
        make_optimiser("adam", parameters(), learning_rate=0.1, betas=[0.5, 0.9], weight_decay=0.1)


@pytest.mark.parametrize("name", NAMES)
def test_a_recordable_step_is_the_same_step(name: str):
    networks, optimisers = [], []
    for recordable in (False, True):
        torch.manual_seed(0)
        networks.append(nn.Linear(5, 3))
        optimisers.append(
            make_optimiser(
                name,
                networks[-1].parameters(),
                learning_rate=3.3e-4,
                betas=(0.5, 0.999),
                recordable=recordable,
            )
        )
    for step in range(4):
        for network, optimiser in zip(networks, optimisers, strict=True):
            set_learning_rate(optimiser, 3.3e-4 * (1 - step / 7))
            torch.manual_seed(step)
            for parameter in network.parameters():
                parameter.grad = torch.randn_like(parameter)
            optimiser.step()
    for one, other in zip(networks[0].parameters(), networks[1].parameters(), strict=True):
        assert torch.equal(one, other)
    states = [optimiser_state(optimiser) for optimiser in optimisers]
    assert states[0]["param_groups"] == states[1]["param_groups"]
    # On a CPU PyTorch would turn rmsprop's into a number.
    assert isinstance(optimisers[1].param_groups[0]["lr"], torch.Tensor) == (name != "rmsprop")


def test_a_loaded_state_leaves_the_rate_where_it_is():
    network = nn.Linear(2, 1)
    optimiser = make_optimiser(
        "adam", network.parameters(), learning_rate=1e-3, betas=(0.0, 0.9), recordable=True
    )
    for parameter in network.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimiser.step()
    rate = optimiser.param_groups[0]["lr"]
    content = optimiser_state(optimiser)
    # As a GPU has written it: with a rate of another moment, and other ways to compute a step.
    content["param_groups"][0] |= {"lr": 0.5, "capturable": True}
    load_optimiser_state(optimiser, content)
    (group,) = optimiser.param_groups
    assert group["lr"] is rate
    assert float(rate) == 1e-3
    assert group["capturable"] is False
    assert group["betas"] == (0.0, 0.9)
    assert [float(each["step"]) for each in optimiser.state.values()] == [1, 1]
