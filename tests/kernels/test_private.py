import pickle
import warnings

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd import forward_ad
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils.flop_counter import FlopCounterMode

from kernels.private import (
    constant_while_tracing,
    count_operations,
    forward_mode,
    has_hooks,
    intercepted,
    leaf,
    shape_of,
    traced_by_jit,
    transformed,
)


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


def test_modes_and_subclasses_intercept() -> None:
    mode = FakeTensorMode()
    fake = mode.from_tensor(torch.zeros(2))
    assert not intercepted()
    assert not intercepted(torch.zeros(2), nn.Parameter(torch.zeros(2)))
    assert intercepted(torch.zeros(2), fake)
    with mode:
        assert intercepted()


def test_a_counter_that_is_counting_learns_of_an_operator() -> None:
    with FlopCounterMode(display=False) as counter:

        @torch.library.custom_op("kernels_tests::twice", mutates_args=())
        def twice(x: torch.Tensor) -> torch.Tensor:
            return x * 2

        count_operations(
            torch.ops.kernels_tests.twice, lambda x, out_shape: 100 * x[0] + out_shape[0]
        )
        twice(torch.zeros(3))
    assert counter.get_total_flops() == 303
    with FlopCounterMode(display=False) as later:
        twice(torch.zeros(2))
    assert later.get_total_flops() == 202


def test_what_takes_operators_for_itself_is_seen() -> None:
    seen: list[bool] = []

    class Own(torch.Tensor):
        @classmethod
        def __torch_dispatch__(cls, function, types, args=(), kwargs=None):
            raise AssertionError("nothing is computed here")

    def look(x: torch.Tensor) -> torch.Tensor:
        seen.append(intercepted(x))
        return x

    look(torch.zeros(2))
    look(nn.Parameter(torch.zeros(2)))
    make_fx(look)(torch.zeros(2))
    look(torch.zeros(2).as_subclass(Own))
    assert seen == [False, False, True, True]


def test_sizes_are_integers_while_torch_jit_traces() -> None:
    seen: list[object] = []

    def look(x: torch.Tensor) -> torch.Tensor:
        seen.append((traced_by_jit(), tuple(shape_of(x)), type(shape_of(x)[0]), type(x.shape[0])))
        return x.reshape(x.shape[1], x.shape[0])

    look(torch.zeros(2, 3))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        traced = torch.jit.trace(look, torch.zeros(2, 3), check_trace=False)
    assert seen == [(False, (2, 3), int, int), (True, (2, 3), int, torch.Tensor)]
    assert traced(torch.zeros(4, 5)).shape == (5, 4)  # tracing went on


@leaf
def _doubled_where_positive(x: torch.Tensor, *, factor: float = 2.0) -> torch.Tensor:
    return x * factor if bool((x > 0).all()) else x


def test_a_leaf_is_one_node() -> None:
    traced = torch.fx.symbolic_trace(lambda x: _doubled_where_positive(x + 1, factor=3.0))
    called = [node.target for node in traced.graph.nodes if node.op == "call_function"]
    assert called[1:] == [_doubled_where_positive]
    for graph in (traced, pickle.loads(pickle.dumps(traced))):
        assert graph(torch.ones(1)) == 6
        assert graph(-3 * torch.ones(1)) == -2
    assert _doubled_where_positive(torch.ones(1)) == 2
