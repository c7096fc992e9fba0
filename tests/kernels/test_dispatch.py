import asyncio
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

import kernels
from kernels import dispatch
from kernels.dispatch import (
    ImplUnavailableError,
    Operator,
    TritonImplementation,
    requested,
    use_impl,
)

VARIABLE = "FUSEDGAN_IMPL"


def twice(x: torch.Tensor, power: int = 1) -> torch.Tensor:
    return 2 * x**power


def twice_on_triton(x: torch.Tensor, power: int = 1) -> torch.Tensor:
    return 2 * x**power + 1000  # told apart from the twin


def yes(*_: Any, **__: Any) -> None:
    return None


def fused(
    why_unsupported: Callable[..., str | None] = yes,
    why_torch: Callable[..., str | None] = yes,
    load: Callable[[], Callable[..., Any]] = lambda: twice_on_triton,
) -> Operator[..., torch.Tensor]:
    implementation = TritonImplementation(load, "even powers of fp32", why_unsupported, why_torch)
    return Operator("twice", twice, implementation)


@pytest.fixture
def interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    """CPU tensors can go to Triton, when it is asked for by name."""
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    monkeypatch.setattr(dispatch, "_triton_installed", lambda: True)


@pytest.fixture
def every_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a GPU: no device stands in Triton's way."""
    monkeypatch.setattr(dispatch, "_why_not_on", lambda device, request: None)


X = torch.tensor([1.0, 3.0])


# --- what is asked for ---


def test_nothing_asked_for_is_auto() -> None:
    assert requested("auto") == ("auto", "default")


def test_environment_speaks_when_nobody_else_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "torch")
    assert requested("auto").impl == "torch"
    assert VARIABLE in requested("auto").origin


def test_an_empty_environment_variable_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "")
    assert requested("auto") == ("auto", "default")


def test_context_overrules_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "torch")
    with use_impl("triton"):
        assert requested("auto") == ("triton", "use_impl(...)")
    with use_impl("auto"):
        assert requested("auto").impl == "auto"
    assert requested("auto").impl == "torch"


def test_innermost_context_counts_and_is_left_behind() -> None:
    with use_impl("torch"):
        with use_impl("triton"):
            assert requested("auto").impl == "triton"
        assert requested("auto").impl == "torch"
    assert requested("auto").impl == "auto"


def test_context_ends_with_an_exception() -> None:
    with pytest.raises(KeyError), use_impl("torch"):
        raise KeyError
    assert requested("auto").impl == "auto"


def test_argument_overrules_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "triton")
    with use_impl("triton"):
        assert requested("torch") == ("torch", "the argument impl=")


def test_unknown_names_are_refused_with_the_known_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    known = "'auto', 'triton', 'torch'"
    with pytest.raises(ValueError, match=f"impl: unknown implementation 'cuda'; known are {known}"):
        requested("cuda")
    with pytest.raises(ValueError, match=known), use_impl("Torch"):
        pass
    monkeypatch.setenv(VARIABLE, "tritn")
    with pytest.raises(ValueError, match=f"{VARIABLE}: unknown implementation 'tritn'; .*{known}"):
        kernels.generator_loss(X)


def test_a_good_argument_does_not_read_a_bad_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "tritn")
    assert kernels.generator_loss(X, impl="torch").item() > 0


def test_other_threads_do_not_see_the_context() -> None:
    seen: dict[str, str] = {}
    inside = threading.Barrier(3)

    def worker(impl: str) -> None:
        with use_impl(impl):
            inside.wait(timeout=30)  # all three are inside their own block now
            seen[impl] = requested("auto").impl
            inside.wait(timeout=30)

    threads = [threading.Thread(target=worker, args=(impl,)) for impl in ("torch", "triton")]
    for thread in threads:
        thread.start()
    inside.wait(timeout=30)
    seen["main"] = requested("auto").impl
    inside.wait(timeout=30)
    for thread in threads:
        thread.join()
    assert seen == {"torch": "torch", "triton": "triton", "main": "auto"}


def test_concurrent_tasks_keep_their_own() -> None:
    async def task(impl: str) -> str:
        with use_impl(impl):
            await asyncio.sleep(0.001)
            return requested("auto").impl

    async def both() -> list[str]:
        return await asyncio.gather(task("torch"), task("triton"), task("auto"))

    assert asyncio.run(both()) == ["torch", "triton", "auto"]


# --- which implementation runs ---


def test_without_a_triton_version_auto_is_torch() -> None:
    operator = Operator("twice", twice)
    assert torch.equal(operator.run("auto", X, power=2), twice(X, 2))
    assert operator.choice(X.device) == (
        "torch",
        "it has no Triton implementation in this version",
    )


@pytest.mark.parametrize("ask", ["argument", "context", "environment"])
def test_without_a_triton_version_asking_for_it_is_an_error(
    ask: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    operator = Operator("twice", twice)
    message = "twice: impl='triton' is asked for by .*{}.*no Triton implementation.*impl='torch'"
    if ask == "argument":
        with pytest.raises(ImplUnavailableError, match=message.format("argument")):
            operator.run("triton", X)
    elif ask == "context":
        with (
            use_impl("triton"),
            pytest.raises(ImplUnavailableError, match=message.format("use_impl")),
        ):
            operator.run("auto", X)
    else:
        monkeypatch.setenv(VARIABLE, "triton")
        with pytest.raises(ImplUnavailableError, match=message.format(VARIABLE)):
            operator.run("auto", X)


@pytest.mark.usefixtures("every_device")
def test_auto_takes_triton_where_there_is_no_reason_not_to() -> None:
    assert torch.equal(fused().run("auto", X), twice_on_triton(X))
    assert torch.equal(fused().run("torch", X), twice(X))
    with use_impl("torch"):
        assert torch.equal(fused().run("auto", X), twice(X))
        assert torch.equal(fused().run("triton", X), twice_on_triton(X))


@pytest.mark.usefixtures("every_device")
def test_predicates_see_the_arguments() -> None:
    def why_unsupported(x: torch.Tensor, power: int = 1) -> str | None:
        return None if power % 2 == 0 else f"power is {power}"

    operator = fused(why_unsupported=why_unsupported)
    assert torch.equal(operator.run("auto", X, 2), twice_on_triton(X, 2))
    assert torch.equal(operator.run("auto", X, power=3), twice(X, 3))
    with pytest.raises(
        ImplUnavailableError, match=r"twice: .*power is 3.*Triton supports even powers of fp32"
    ):
        operator.run("triton", X, power=3)


@pytest.mark.usefixtures("every_device")
def test_auto_does_not_take_what_is_slower_but_an_order_does() -> None:
    operator = fused(why_torch=lambda x: "cuDNN is faster")
    assert torch.equal(operator.run("auto", X), twice(X))
    assert torch.equal(operator.run("triton", X), twice_on_triton(X))


@pytest.mark.usefixtures("interpreter")
def test_the_interpreter_runs_when_asked_for_only() -> None:
    assert torch.equal(fused().run("auto", X), twice(X))
    assert torch.equal(fused().run("triton", X), twice_on_triton(X))


def test_cpu_tensors_do_not_go_to_triton(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    monkeypatch.setattr(dispatch, "_triton_installed", lambda: True)
    assert torch.equal(fused().run("auto", X), twice(X))
    with pytest.raises(ImplUnavailableError, match="the tensors are on cpu"):
        fused().run("triton", X)


def test_triton_is_not_loaded_unless_it_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    def load() -> Callable[..., Any]:
        raise AssertionError("loaded")

    monkeypatch.setattr(dispatch, "_triton_installed", lambda: False)
    operator = fused(load=load)
    assert torch.equal(operator.run("auto", X), twice(X))
    with pytest.raises(ImplUnavailableError, match="triton is not installed"):
        operator.run("triton", X)


def test_the_device_is_the_first_tensors_also_by_keyword() -> None:
    assert dispatch._device_of((1, X), {}) == X.device
    assert dispatch._device_of((), {"x": torch.empty(1, device="meta")}).type == "meta"
    with pytest.raises(TypeError, match="at least one tensor"):
        dispatch._device_of((1,), {})


def test_names_are_registered_once() -> None:
    with pytest.raises(ValueError, match="'conv2d' is registered already"):
        dispatch.register(Operator("conv2d", twice))


# --- what is said about it ---


def test_explain_names_every_operator_request_and_device() -> None:
    report = kernels.explain(device="cpu")
    for name in (
        "conv2d",
        "conv_block",
        "conv_transpose2d",
        "conv_transpose_block",
        "discriminator_loss",
        "generator_loss",
    ):
        assert any(
            line.split()[:2] == [name, "torch"] and "the tensors are on cpu" in line
            for line in report.splitlines()
        )
    assert "request: auto (default)" in report
    assert "triton:" in report
    assert "CUDA:" in report


def test_explain_one_operator_on_one_device() -> None:
    report = kernels.explain("conv2d", device="cuda:1")
    assert "cuda:1" in report
    assert "conv2d" in report
    assert "generator_loss" not in report
    with pytest.raises(ValueError, match=r"'conv3d' is not known; known operators: .*conv2d, "):
        kernels.explain("conv3d")


def test_explain_follows_the_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    with use_impl("torch"):
        assert "asked for by use_impl" in kernels.explain("conv2d")
    monkeypatch.setenv(VARIABLE, "triton")
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    report = kernels.explain("conv2d", device="cpu")
    assert f"request: triton (the environment variable {VARIABLE})" in report
    assert "error" in report
    assert "conv2d: impl='triton' is asked for" in report


def test_explain_a_triton_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "_OPERATORS", {"twice": fused()})
    monkeypatch.setattr(dispatch, "_triton_installed", lambda: True)
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    report = kernels.explain(device="cuda")
    assert "twice  triton  it can run here" in report
    assert "Triton supports even powers of fp32" in report
    assert "twice  torch   the tensors are on cpu" in kernels.explain(device="cpu")
    with use_impl("triton"):
        assert "twice  triton  asked for by use_impl" in kernels.explain(device="cuda")
        assert "twice  error" in kernels.explain(device="cpu")


def test_explain_without_triton(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "_triton_installed", lambda: False)
    assert "triton:  not installed" in kernels.explain()


# --- under torch.compile ---


def test_compiled_functions_keep_what_was_asked_for_when_traced() -> None:
    operator = fused(load=lambda: twice_on_triton)
    torch.compiler.reset()
    compiled = torch.compile(lambda x: operator.run("auto", x), fullgraph=True, backend="eager")
    assert torch.equal(compiled(X), twice(X))
    with use_impl("triton"):
        assert torch.equal(compiled(X), twice(X))


def test_auto_may_run_another_function_than_an_order(monkeypatch: pytest.MonkeyPatch) -> None:
    implementation = TritonImplementation(
        lambda: lambda x: x + 1,
        "anything",
        yes,
        yes,
        load_automatic=lambda: lambda x: x + 2,
    )
    operator = Operator("either", lambda x: x, implementation)
    monkeypatch.setattr(dispatch, "_why_not_on", lambda device, request: None)
    x = torch.zeros(1)
    assert [operator.run(impl, x).item() for impl in ("torch", "triton", "auto")] == [0, 1, 2]
    without = Operator("one", lambda x: x, replace(implementation, load_automatic=None))
    assert without.run("auto", x).item() == 1
