"""Which implementation of an operator runs, and why: "auto" | "triton" | "torch".

Every operator has a plain PyTorch implementation, its definition, and may have a Triton one.
What is asked for is, the first that speaks:

1. the call's own `impl=` argument, unless it is "auto";
2. the innermost `use_impl(...)` around the call;
3. the environment variable `FUSEDGAN_IMPL`;
4. "auto".

"torch" and "triton" are orders: an operator that cannot follow raises `ImplUnavailableError`.
"auto" takes Triton where it exists, can run the call and is not known to be slower, and PyTorch
otherwise. `explain()` says what would run and why.

Nothing is looked up at import: neither triton nor a device.
"""

import functools
import importlib.metadata
import importlib.util
import os
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Generic, Literal, NamedTuple, ParamSpec, TypeVar, get_args

import torch
from torch import Tensor

from .private import constant_while_tracing

Impl = Literal["auto", "triton", "torch"]
IMPLEMENTATIONS: tuple[Impl, ...] = get_args(Impl)
PACKAGE = __name__.rpartition(".")[0]
"""This package's name, for messages: a copy of the folder has one of its own."""

_VARIABLE = "FUSEDGAN_IMPL"

P = ParamSpec("P")
R = TypeVar("R")

_NO_TRITON = "it has no Triton implementation in this version"
_ON_CPU = "the tensors are on cpu, and Triton needs a CUDA device"

_AROUND: ContextVar[str | None] = ContextVar(f"{PACKAGE}.impl", default=None)


class ImplUnavailableError(RuntimeError):
    """Triton was asked for by name and cannot run this operator, or not with these arguments."""


@contextmanager
def use_impl(impl: Impl) -> Iterator[None]:
    """Ask for one implementation of every operator called inside the `with` block.

    The innermost block counts; an `impl=` argument other than "auto" overrules it. The request
    belongs to the current thread and task: other threads, also those started inside the block,
    do not see it. A function under `torch.compile` keeps what was asked for when it was traced.

    Args:
        impl: "auto", "triton" or "torch". "auto" also puts aside `FUSEDGAN_IMPL`.

    Raises:
        ValueError: `impl` is not a known implementation.
    """
    token = _AROUND.set(check_impl(impl, "use_impl"))
    try:
        yield
    finally:
        _AROUND.reset(token)


@dataclass(frozen=True)
class TritonImplementation:
    """How an operator reaches its Triton version, and when it may.

    What is called `why_…` returns a reason, a phrase that can follow a colon, or None where there
    is none. The first two take the operator's own arguments.

    Attributes:
        load: imports and returns the function; called only when it is about to run, so that
            nothing imports triton before.
        scope: what it supports, for messages: "fp32, fp16 and bf16 logits of any shape".
        why_unsupported: why it cannot compute this call at all.
        why_torch: why PyTorch is preferred though it can, being faster as far as is known; asked
            under "auto" only.
        why_torch_on: why PyTorch is preferred on a device whatever the call, for `explain`; None
            for "it depends".
        note: what else `explain` should say of it, one line.
        load_automatic: as `load`, of the function that runs under "auto", where it is another one:
            one that asks again for each of several operators, those of its derivatives included.
    """

    load: Callable[[], Callable[..., Any]]
    scope: str
    why_unsupported: Callable[..., str | None]
    why_torch: Callable[..., str | None]
    why_torch_on: Callable[[torch.device], str | None] | None = None
    note: Callable[[], str] | None = None
    load_automatic: Callable[[], Callable[..., Any]] | None = None

    def function(self, impl: str) -> Callable[..., Any]:
        """The function that runs where `impl`, "auto" or "triton", is asked for."""
        if impl == "auto" and self.load_automatic is not None:
            return self.load_automatic()
        return self.load()


def launching_on(device: torch.device) -> AbstractContextManager[Any]:
    """The context in which launches go to `device`: Triton takes the current one."""
    if device.type != "cuda" or device.index == torch.cuda.current_device():
        return nullcontext()
    return torch.cuda.device(device)


class Request(NamedTuple):
    """What is asked for, and by whom."""

    impl: str
    origin: str


def _requests(origin: str) -> dict[str, Request]:
    return {impl: Request(impl, origin) for impl in IMPLEMENTATIONS}


_ARGUMENT = _requests("the argument impl=")
_USE_IMPL = _requests("use_impl(...)")
_ENVIRONMENT = _requests(f"the environment variable {_VARIABLE}")
_DEFAULT = Request("auto", "default")


class Choice(NamedTuple):
    """The implementation that runs, "triton" or "torch", and why."""

    impl: str
    reason: str


class Operator(Generic[P, R]):
    """One operator with its PyTorch and, where there is one, its Triton implementation."""

    def __init__(
        self, name: str, torch_impl: Callable[P, R], triton_impl: TritonImplementation | None = None
    ) -> None:
        self.name = name
        self.torch_impl = torch_impl
        self.triton_impl = triton_impl

    def run(self, impl: str, /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Compute the operator with the implementation that is asked for.

        Args:
            impl: the caller's `impl=` argument.
            args: the operator's arguments, handed to either implementation unchanged.
            kwargs: likewise.

        Raises:
            ValueError: an unknown implementation is asked for.
            ImplUnavailableError: "triton" is asked for and cannot run.
        """
        request = requested(impl)
        if request.impl == "torch":
            return self.torch_impl(*args, **kwargs)
        reason = self._why_not_triton(request, args, kwargs)
        if reason is None and self.triton_impl is not None:
            result: R = self.triton_impl.function(request.impl)(*args, **kwargs)
            return result
        if request.impl == "triton":
            raise self._unavailable(request, reason)
        return self.torch_impl(*args, **kwargs)

    def refuse_order(self, impl: str, reason: str) -> None:
        """Raise ImplUnavailableError if Triton is asked for where `reason` keeps it from running.

        For callers that compute a call without this operator.
        """
        request = requested(impl)
        if request.impl == "triton":
            raise self._unavailable(request, reason)

    def choice(self, device: torch.device) -> Choice:
        """What `run` would do on a device, as far as the device and the requests decide it.

        Raises:
            ImplUnavailableError: "triton" is asked for and cannot run there.
        """
        request = requested("auto")
        if request.impl == "torch":
            return Choice("torch", f"asked for by {request.origin}")
        reason = _NO_TRITON if self.triton_impl is None else _why_not_on(device, request)
        why_torch_on = self.triton_impl.why_torch_on if self.triton_impl is not None else None
        if reason is None and why_torch_on is not None and request.impl == "auto":
            reason = why_torch_on(device)
        if reason is None:
            asked_for = f"asked for by {request.origin}"
            unforced = "it can run here; a call that it does not support goes to PyTorch"
            return Choice("triton", asked_for if request.impl == "triton" else unforced)
        if request.impl == "triton":
            raise self._unavailable(request, reason)
        return Choice("torch", reason)

    def _why_not_triton(
        self, request: Request, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> str | None:
        """Why Triton does not run this call, or None when it does."""
        if self.triton_impl is None:
            return _NO_TRITON
        reason = _why_not_on(_device_of(args, kwargs), request)
        if reason is None:
            reason = self.triton_impl.why_unsupported(*args, **kwargs)
        if reason is None and request.impl == "auto":
            reason = self.triton_impl.why_torch(*args, **kwargs)
        return reason

    def _unavailable(self, request: Request, reason: str | None) -> ImplUnavailableError:
        possible = "impl='torch' and impl='auto' run it in PyTorch"
        if self.triton_impl is not None:
            possible = f"Triton supports {self.triton_impl.scope}; {possible}"
        return ImplUnavailableError(
            f"{PACKAGE}.{self.name}: impl='triton' is asked for by {request.origin}, "
            f"but Triton cannot run it: {reason}. {possible}."
        )


_OPERATORS: dict[str, Operator[..., Any]] = {}


def register(operator: Operator[P, R]) -> Operator[P, R]:
    """Make an operator known to `explain`.

    Raises:
        ValueError: another operator has this name.
    """
    if operator.name in _OPERATORS:
        raise ValueError(f"an operator named {operator.name!r} is registered already")
    _OPERATORS[operator.name] = operator
    return operator


def requested(impl: str) -> Request:
    """What is asked for, given a call's own `impl=` argument, and by whom.

    Raises:
        ValueError: the argument or the environment variable is not a known implementation.
    """
    if impl != "auto":
        return _ARGUMENT[check_impl(impl)]
    around, environment = _surroundings()
    if around is not None:
        return _USE_IMPL[around]
    if environment:
        return _ENVIRONMENT[check_impl(environment, f"the environment variable {_VARIABLE}")]
    return _DEFAULT


def explain(operator: str | None = None, device: torch.device | str | None = None) -> str:
    """Say which implementation of each operator would run, and why.

    The answer holds for calls without an `impl=` argument. Shapes and dtypes can still send a
    single call from Triton to PyTorch: the report states what each Triton version supports.

    Args:
        operator: one operator's name; all of them by default.
        device: the device to answer for; the CUDA device if there is one, else the CPU.

    Returns:
        A text of several lines, without a newline at its end.

    Raises:
        ValueError: no operator has this name, or `FUSEDGAN_IMPL` is not a known implementation.
    """
    if operator is not None and operator not in _OPERATORS:
        known = ", ".join(sorted(_OPERATORS))
        raise ValueError(f"operator={operator!r} is not known; known operators: {known}")
    cuda = torch.cuda.is_available()
    where = torch.device(device) if device is not None else torch.device("cuda" if cuda else "cpu")
    request = requested("auto")
    lines = [
        f"request: {request.impl} ({request.origin})",
        f"device:  {where}",
        f"triton:  {_triton_version()}",
        f"CUDA:    {torch.cuda.get_device_name() if cuda else 'not available'}",
    ]
    names = sorted(_OPERATORS) if operator is None else [operator]
    width = max(map(len, names))
    for name in names:
        registered = _OPERATORS[name]
        try:
            choice = registered.choice(where)
        except ImplUnavailableError as error:
            lines.append(f"{name:<{width}}  error   {error}")
            continue
        lines.append(f"{name:<{width}}  {choice.impl:<6}  {choice.reason}")
        if registered.triton_impl is not None:
            lines.append(f"{'':<{width}}          Triton supports {registered.triton_impl.scope}")
            if registered.triton_impl.note is not None:
                lines.append(f"{'':<{width}}          {registered.triton_impl.note()}")
    return "\n".join(lines)


def check_impl(impl: str, where: str = "impl") -> Impl:
    """Return `impl`, or raise ValueError when it is not a known implementation."""
    if impl not in IMPLEMENTATIONS:
        known = ", ".join(map(repr, IMPLEMENTATIONS))
        raise ValueError(f"{where}: unknown implementation {impl!r}; known are {known}")
    return impl


def named_here(text: str) -> str:
    """A text about `kernels.…`, with the name that this copy of the package has."""
    return re.sub(r"\bkernels\.", f"{PACKAGE}.", text)


# Dynamo can trace neither ContextVar.get nor the import system.
@constant_while_tracing
def _surroundings() -> tuple[str | None, str | None]:
    return _AROUND.get(), os.environ.get(_VARIABLE)


@constant_while_tracing
def _triton_installed() -> bool:
    return _find_triton()


@functools.cache  # a search through sys.path takes longer than a small operator
def _find_triton() -> bool:
    try:
        return importlib.util.find_spec("triton") is not None
    except (ImportError, ValueError):  # hidden by an import hook, or by None in sys.modules
        return False


def _triton_version() -> str:
    if not _triton_installed():
        return "not installed"
    try:
        return importlib.metadata.version("triton")
    except importlib.metadata.PackageNotFoundError:
        return "installed, version unknown"


def _device_of(args: tuple[Any, ...], kwargs: dict[str, Any]) -> torch.device:
    for value in (*args, *kwargs.values()):
        if isinstance(value, Tensor):
            return value.device
    raise TypeError("an operator takes at least one tensor")


def _why_not_on(device: torch.device, request: Request) -> str | None:
    """Why Triton cannot run on a device, or None."""
    kind = device.type
    if kind == "cpu" and request.impl == "auto":
        return _ON_CPU  # at once: on the CPU every call comes through here
    if not _triton_installed():
        return "triton is not installed"
    if kind == "cuda":
        return None
    # Triton's interpreter runs kernels on the CPU, for tests: slow, so never chosen by itself.
    interpreted = os.environ.get("TRITON_INTERPRET") == "1" and request.impl == "triton"
    if kind == "cpu" and interpreted:
        return None
    return f"the tensors are on {kind}, and Triton needs a CUDA device"
