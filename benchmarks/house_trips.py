"""How far a call travels through the project's files, for `benchmarks.house`.

    cd TREE && TRITON_INTERPRET=1 python -c "$(cat benchmarks/house_trips.py)"

Imports `kernels` and `gan` from the current folder, which may be any tree that offers
`kernels.ConvTransposeBlock`, `kernels.discriminator_loss` and `gan.training.Trainer`, and prints
one line of JSON: of every trip the functions called in the project's own files, the distinct files
these are in, and changes of file, calls of a function in another file than the one called before
it. Comprehensions are no functions; a generator counts each time it goes on. A trip to the launch
ends where Triton's interpreter takes over, for the first time. Every call is made once before it is
traced, so that imports and what is kept between calls stay out of it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

FOLDERS = ("gan", "kernels", "pipeline")


class Trace:
    """Counts calls of the functions in some folders, until one of `ends` is called."""

    def __init__(self, root: Path, ends: CodeType | None = None) -> None:
        self._folders = tuple(f"{root / folder}/" for folder in FOLDERS)
        self._end = ends
        self.ended = False
        self.files: list[str] = []  # of the functions, in the order in which they are called

    def __enter__(self) -> Trace:
        sys.setprofile(self._event)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)

    def _event(self, frame: FrameType, event: str, _: Any) -> None:
        code = frame.f_code
        if event != "call":
            return
        if code is self._end:
            self.ended = True
            sys.setprofile(None)
        elif code.co_filename.startswith(self._folders) and not code.co_name.endswith(
            ("comp>", "genexpr>", "module>")
        ):
            self.files.append(code.co_filename)

    def counts(self) -> dict[str, int]:
        """What is reported of a trip."""
        changes = sum(a != b for a, b in zip(self.files, self.files[1:], strict=False))
        return {"calls": len(self.files), "files": len(set(self.files)), "changes of file": changes}


def launch_code() -> CodeType:
    """The function by which Triton's interpreter takes a launch."""
    from triton.runtime.interpreter import GridExecutor

    code: CodeType = GridExecutor.__call__.__code__
    return code


def trace(prepare: Callable[[], Callable[[], object]], root: Path, to_launch: bool) -> Any:
    """Count one trip, or say what kept it from being one."""
    try:
        call = prepare()
        call()
        with Trace(root, launch_code() if to_launch else None) as traced:
            call()
    except Exception as error:  # a tree that does not offer it has no number there
        return {"note": f"{type(error).__name__}: {error}"}
    return {"note": "nothing was launched"} if to_launch and not traced.ended else traced.counts()


def block() -> Callable[[], object]:
    """A block of the generator, in training mode."""
    import torch

    from kernels import ConvTransposeBlock

    made = ConvTransposeBlock(16, 16, impl="triton")
    x = torch.randn(2, 16, 4, 4)
    return lambda: made(x)


def loss(impl: str) -> Callable[[], object]:
    """The discriminator's loss of a few logits."""
    import torch

    from kernels import discriminator_loss

    real, fake = torch.randn(2, 8, requires_grad=True)
    return lambda: discriminator_loss(real, fake, impl=impl)


def round_of_game() -> Callable[[], object]:
    """One round of the default game on a few images."""
    import numpy as np
    import torch

    from gan.config import Config
    from gan.training import Trainer

    images = np.random.default_rng(0).integers(0, 256, (128, 1, 16, 16), np.uint8)
    try:  # trees differ in what a trainer is given
        from gan.data import TrainingSet
    except ImportError:
        return Trainer(Config(), images, device=torch.device("cpu")).advance
    return Trainer(Config(), TrainingSet(images), device=torch.device("cpu")).advance


def main() -> None:
    """Entry point."""
    root = Path.cwd()
    trips = {
        "ConvTransposeBlock to the launch": trace(block, root, True),
        "discriminator_loss to the launch": trace(lambda: loss("triton"), root, True),
        "discriminator_loss, auto on the CPU": trace(lambda: loss("auto"), root, False),
        "Trainer.advance": trace(round_of_game, root, False),
    }
    print(json.dumps(trips))


if __name__ == "__main__":
    main()
