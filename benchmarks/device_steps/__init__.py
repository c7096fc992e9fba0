"""The steps of `python -m benchmarks.device`: a module a step, each run in a process of its own."""

from __future__ import annotations

from benchmarks.device_steps.results import CHECKS, RUN, SPEED, TUNING
from benchmarks.device_steps.step import Step

# Of the configuration, of presets, and of the embedded digits.
_PIPELINE = ("pydantic", "ruamel.yaml", "sklearn")

STEPS = (
    Step(
        "roofs", "a copy, a large product, reads from L2, a launch", f"{__name__}.roofs", SPEED, 60
    ),
    Step(
        "compilation",
        "every checked kernel and the tuner's shortlist, in parallel",
        f"{__name__}.compilation",
        CHECKS,
        180,
        gpu=True,
        packages=("triton",),
        interpreted=False,
    ),
    Step(
        "twins",
        "every kernel once against its twin in PyTorch",
        f"{__name__}.twins",
        CHECKS,
        120,
        gpu=True,
        packages=("triton",),
    ),
    Step(
        "sanitizer",
        "the same at small shapes under compute-sanitizer",
        f"{__name__}.sanitizer",
        CHECKS,
        180,
        gpu=True,
        packages=("triton",),
        program="compute-sanitizer",
    ),
    Step(
        "tests",
        "pytest -m gpu",
        f"{__name__}.suite",
        CHECKS,
        240,
        gpu=True,
        packages=("pytest", "hypothesis"),
    ),
    Step(
        "rounds",
        "200 rounds of three presets without synchronisation; killed, resumed, the same bytes",
        f"{__name__}.rounds",
        CHECKS,
        180,
        packages=_PIPELINE,
    ),
    Step(
        "tuning",
        "launch configurations against cuDNN",
        f"{__name__}.tuning",
        TUNING,
        400,
        least=40,
        gpu=True,
        packages=("triton",),
    ),
    Step(
        "training",
        "a training step: the textbook's loop, the same compiled, ours, ours as a graph",
        f"{__name__}.training",
        SPEED,
        300,
        least=30,
        packages=("pydantic",),
    ),
    Step(
        "generator",
        "blocks and the generator",
        f"{__name__}.operators",
        SPEED,
        240,
        "generator",
        30,
    ),
    Step("losses", "adversarial losses", f"{__name__}.operators", SPEED, 120, "losses", 20),
    Step(
        "sampling",
        "sampling and the policy gradient",
        f"{__name__}.operators",
        SPEED,
        60,
        "sampling",
    ),
    Step(
        "run",
        "a run from data to the Fréchet distance",
        f"{__name__}.whole_run",
        RUN,
        300,
        least=30,
        packages=(*_PIPELINE, "matplotlib"),
    ),
)
BY_NAME = {step.name: step for step in STEPS}
