import torch
from torch import nn
from torch.autograd import forward_ad

from kernels.private import constant_while_tracing, forward_mode, has_hooks, transformed


def test_transforms_and_forward_mode_are_seen() -> None:
    seen: list[tuple[bool, bool]] = []

    def look(x: torch.Tensor) -> torch.Tensor:
        seen.append((transformed(), forward_mode()))
        return x

    look(torch.zeros(2))
    torch.func.vmap(look)(torch.zeros(2, 3))
    with forward_ad.dual_level():
        look(torch.zeros(2))
    assert seen == [(False, False), (True, False), (False, True)]


def test_each_kind_of_hook_is_seen() -> None:
    registrations = (
        lambda module: module.register_forward_hook(lambda *_: None),
        lambda module: module.register_forward_pre_hook(lambda *_: None),
        lambda module: module.register_full_backward_hook(lambda *_: None),
        lambda module: module.register_full_backward_pre_hook(lambda *_: None),
    )
    for register in registrations:
        module = nn.Identity()
        assert not has_hooks(module)
        register(module)
        assert has_hooks(module)


def test_a_constant_is_called_while_tracing() -> None:
    calls: list[int] = []

    @constant_while_tracing
    def answer() -> int:
        calls.append(1)
        return 3

    compiled = torch.compile(lambda x: x * answer(), fullgraph=True, backend="eager")
    assert compiled(torch.ones(1)) == 3
    assert compiled(torch.ones(1)) == 3
    assert len(calls) == 1
