"""Readers of the project's own files: parameters, data, samples, networks, states, tables."""

from __future__ import annotations

import functools
import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.fuzzing.inputs import Reader, WrongError
from benchmarks.fuzzing.raw import json_tree, raw
from gan.array_file import read_arrays, write_arrays
from gan.config import Config, DataConfig, ModelConfig
from gan.data.manifest import SPLITS, manifest_checksum
from gan.data.prepared import open_prepared
from gan.files import write_json
from gan.generators import generate, load_generator, save_generator
from gan.generators.samples_file import read_samples, write_samples
from gan.json_file import read_json
from gan.judges.images import Judge, load_judge, save_judge
from gan.judges.networks import Architecture, build_body, build_head, materialise
from gan.judges.points import load_toy_judge, save_toy_judge
from gan.judges.text import load_text_judge, save_text_judge
from gan.models import build_generator
from gan.pixels import Kind
from gan.preparation.prepare import prepare
from gan.symbols import Alphabet, Characters, ClassNames, Colours
from gan.training.history import read_csv, write_csv
from gan.training.snapshots import Snapshot, load_snapshot, save_snapshot
from gan.training.state import hold
from gan.training.states import entries
from pipeline.params import read_config
from pipeline.paths import PARAMS
from pipeline.preset import apply, resolve

ROOT = Path(__file__).parents[2]
IDENTITY = {"seed": 0, "data": "x"}

# --- parameters --------------------------------------------------------------------------------

_FEW = """\
seed: 0
data:
  name: digits # as they come
  size: 16
  path: data/raw
train: {steps: 100, betas: [0.5, 0.999]}
evaluate:
  kid_subsets: 20
"""
_PAIRS = "train.steps=2000\nobjective.penalties.r1=0.5\ndata.path='data/set #2'\nseed=3\n"


def _all_parameters(folder: Path) -> None:
    (folder / PARAMS.name).write_bytes((ROOT / PARAMS).read_bytes())


def _few_parameters(folder: Path) -> None:
    (folder / PARAMS.name).write_text(_FEW)


def _pairs(folder: Path) -> None:
    (folder / "given.pairs").write_text(_PAIRS)


def _read_params(folder: Path) -> None:
    config = read_config(folder / PARAMS.name)
    if not isinstance(config, Config):
        raise WrongError(f"the parameters are {type(config).__name__}")
    _check_finite_values(config.model_dump())


def _read_preset(folder: Path) -> None:
    path = folder / PARAMS.name
    before = path.read_bytes()
    try:
        apply(["digits"], [], path)
    except BaseException:
        if path.read_bytes() != before:
            raise WrongError("the parameters are others though they were refused") from None
        raise
    read_config(path)  # what was written is to be read again, or refused


def _read_pairs(folder: Path) -> None:
    text = (folder / "given.pairs").read_bytes().decode("utf-8", "surrogateescape")
    _check_finite_values(resolve(["digits"], [line for line in text.split("\n") if line]))


def _check_finite_values(values: object) -> None:
    text = json.dumps(values, default=str)
    for name in ("NaN", "Infinity"):
        if f": {name}" in text or f"[{name}" in text:
            raise WrongError(f"the parameters hold {name}")


# --- prepared data, samples --------------------------------------------------------------------


def _prepared(folder: Path, **values: object) -> None:
    text = folder / "text.txt"
    if values.get("name") == "text":
        text.write_text("\n".join(f"line {index} of some more" for index in range(40)))
        values["path"] = str(text)
    prepare(DataConfig.model_validate(values), folder, progress=False)
    text.unlink(missing_ok=True)


def _few_images(folder: Path, levels: int = 0) -> None:
    from gan.preparation.writer import PreparedWriter

    rng = np.random.default_rng(0)
    with PreparedWriter(folder, source="images", shape=(1, 8, 8), label_names=["a", "b"]) as writer:
        for split, count in (("train", 6), ("test", 3)):
            images = rng.integers(0, 256, (count, 1, 8, 8), dtype=np.uint8)
            writer.append(split, images, np.arange(count) % 2)  # type: ignore[arg-type]


def _read_prepared(folder: Path) -> None:
    prepared = open_prepared(folder)
    for split in SPLITS:
        examples = prepared.examples(split)
        if examples.shape != (prepared.manifest.splits[split].count, *prepared.manifest.shape):
            raise WrongError(f"examples are {examples.shape}")
        labels = prepared.labels(split)
        if labels is not None and labels.shape != examples.shape[:1]:
            raise WrongError(f"labels are {labels.shape}")
    _ = prepared.kind, prepared.alphabet, prepared.label_names, prepared.example_shape
    prepared.verify()


def manifest(rng: random.Random, content: bytes) -> bytes:
    """A manifest that is another, its checksum right."""
    try:
        values = json.loads(json_tree(rng, content))
        values.pop("checksum", None)
        values["checksum"] = manifest_checksum(values)
        return json.dumps(values).encode()
    except (ValueError, AttributeError, RecursionError, TypeError):
        return raw(rng, content)


def _samples(kind: Kind, folder: Path) -> None:
    rng = np.random.default_rng(0)
    arrays = {
        "images": rng.integers(0, 256, (7, 1, 4, 4), np.uint8),
        "points": rng.normal(size=(7, 2)).astype(np.float32),
        "text": rng.integers(0, 9, (7, 5), np.uint8),
        "labels": rng.dirichlet([1, 1, 1], 7).astype(np.float32),
    }
    write_samples(folder, kind, arrays[kind].shape, [arrays[kind]], progress=False)


def _read_samples(folder: Path) -> None:
    found = read_samples(folder)
    if not np.isfinite(np.asarray(found.array, np.float64)).all():
        raise WrongError("samples hold NaN or infinity")


# --- networks ----------------------------------------------------------------------------------

_SMALL = {"latent_size": 3, "generator_width": 4, "discriminator_width": 4, "depth": 1}
_JUDGE, _GENERATOR = "judge.safetensors", "generator.safetensors"
_ARRAYS, _SNAPSHOT = "shown.safetensors", "step-000000100.safetensors"


def _generator(name: str, shape: tuple[int, ...], alphabet: Alphabet | None, folder: Path) -> None:
    torch.manual_seed(0)
    config = ModelConfig.model_validate({"name": name, **_SMALL})
    generator = build_generator(config, shape, alphabet)
    save_generator(generator, folder / _GENERATOR, provenance={"steps": 3, "seed": 0})


def _read_generator(folder: Path) -> None:
    generator = load_generator(folder / _GENERATOR)
    _check_tensors(generator.state_dict())
    if generator.kind != "labels":
        latent = generator.draw_latent(2, torch.Generator().manual_seed(0))
        dtype = next(generator.parameters()).dtype
        for batch in generate(generator, latent.to(dtype)):
            if len(batch) != 2:
                raise WrongError(f"two latent vectors give {batch.shape}")


def _check_tensors(tensors: dict[str, Tensor]) -> None:
    for tensor in tensors.values():
        if not torch.isfinite(tensor).all():
            raise WrongError("weights hold NaN or infinity")


def _network_judge(classes: int, folder: Path) -> None:
    architecture = Architecture(
        kind="classifier" if classes else "autoencoder",
        channels=1,
        size=8,
        width=4,
        features=8,
        classes=classes,
    )
    with torch.device("meta"):
        tip = [build_head(architecture)] if classes else []
        parts = nn.Sequential(build_body(architecture), *tip)
    materialise(parts, torch.device("cpu"), torch.Generator().manual_seed(0))
    judge = Judge(
        architecture,
        parts[0],
        parts[1] if classes else None,
        label_names=[str(each) for each in range(classes)] if classes else None,
        data_checksum="0",
    )
    save_judge(judge, folder / _JUDGE)


def _read_network_judge(folder: Path) -> None:
    judge = load_judge(folder / _JUDGE)
    _check_tensors(judge.tensors())
    shape = (2, judge.architecture.channels, judge.architecture.size, judge.architecture.size)
    if judge.architecture.size <= 128:
        found = judge.features(np.zeros(shape, np.uint8))
        if found.shape != (2, judge.architecture.features):
            raise WrongError(f"features are {found.shape}")
    if judge.classes and len(judge.label_names or []) != judge.classes:
        raise WrongError("classes without names")


def _toy_judge(folder: Path) -> None:
    _prepared(folder, name="toy", toy="ring", toy_points=100)
    prepared = open_prepared(folder)
    save_toy_judge(prepared, folder / _JUDGE)
    _only(_JUDGE, folder, prepared.manifest.checksum)


def _read_toy_judge(folder: Path) -> None:
    toy = load_toy_judge(folder / _JUDGE, _checksum(folder))
    if not torch.isfinite(toy.log_density(torch.zeros(3, toy.dimensions))).all():
        raise WrongError("a density is not finite")
    _ = toy.group_names, toy.extent()


def _text_judge(folder: Path) -> None:
    _prepared(folder, name="text", length=16)
    prepared = open_prepared(folder)
    save_text_judge(prepared, folder / _JUDGE, seed=0)
    _only(_JUDGE, folder, prepared.manifest.checksum)


def _read_text_judge(folder: Path) -> None:
    judge = load_text_judge(folder / _JUDGE, _checksum(folder))
    found = judge.divergences(np.zeros((2, 8), np.uint8), 2)
    if not np.isfinite(found).all():
        raise WrongError(f"divergences are {found}")


def _only(name: str, folder: Path, checksum: str) -> None:
    """Leave the file `name` alone in `folder`, with the checksum of its data beside it."""
    for path in list(folder.iterdir()):
        if path.name != name:
            path.unlink()
    (folder / "checksum.txt").write_text(checksum)


def _checksum(folder: Path) -> str:
    path = folder / "checksum.txt"
    return path.read_bytes().decode("latin-1") if path.exists() else ""


def _arrays(folder: Path) -> None:
    arrays = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.arange(4)}
    write_arrays(arrays, folder / _ARRAYS)


def _read_arrays(folder: Path) -> None:
    for name, values in read_arrays(folder / _ARRAYS).items():
        if not isinstance(values, np.ndarray):
            raise WrongError(f"{name} is {type(values).__name__}")


def _snapshot(folder: Path) -> None:
    samples = np.random.default_rng(0).normal(size=(5, 2)).astype(np.float32)
    save_snapshot(Snapshot(100, "points", samples, torch.zeros(4, 4)), folder / _SNAPSHOT)


def _read_snapshot(folder: Path) -> None:
    found = load_snapshot(folder / _SNAPSHOT)
    if not isinstance(found.step, int):
        raise WrongError(f"the step is {found.step!r}")


# --- states, tables ----------------------------------------------------------------------------


def _state(*steps: int) -> Callable[[Path], None]:
    return functools.partial(_write_state, steps)


def _write_state(steps: Sequence[int], folder: Path) -> None:
    with hold(folder, IDENTITY, {"data": "digits", "steps": 5}) as state:
        for step in steps:
            content = {"weights": {"w": torch.ones(2, 3)}, "rows": [[1.0, 2.0]], "step": step}
            state.save(step, content)
        state.finish(5)


def _read_checkpoints(folder: Path) -> None:
    with hold(folder, IDENTITY, {}) as state:
        _ = state.finished_at
        found = state.latest()
        state.resume_point(10)
    if found is not None and not (type(found[0]) is int and isinstance(found[1], dict)):
        raise WrongError(f"a state is {type(found[0]).__name__}, {type(found[1]).__name__}")


def _read_states(folder: Path) -> None:
    for entry in entries(folder):
        entry.line()
    # A state beside another, which it may be a continuation of.
    with hold(folder, {**IDENTITY, "code": "other"}, {}):
        pass


def _history(folder: Path) -> None:
    write_csv([[1.0, 64.0, 0.5, 1.5], [2.0, 128.0, 0.25, 1.0]], folder / "h.csv", ["a", "b"])


def _read_history(folder: Path) -> None:
    columns = read_csv(folder / "h.csv")
    if len({len(values) for values in columns.values()}) > 1:
        raise WrongError("columns of different lengths")


def _metrics(folder: Path) -> None:
    write_json(folder / "train.json", {"last": {"a": 0.5}, "alarms": {}, "steps": 3})


def _read_metrics(folder: Path) -> None:
    json.dumps(read_json(folder / "train.json", "what was measured"), allow_nan=False)


def _of(make: Callable[..., None], *arguments: object, **values: object) -> Callable[[Path], None]:
    return functools.partial(make, *arguments, **values)


_GENERATORS = (
    _of(_generator, "dcgan", (1, 8, 8), None),
    _of(_generator, "dcgan", (3, 8, 8), Colours(((0, 0, 0), (9, 8, 7), (255, 0, 1)))),
    _of(_generator, "resnet", (1, 8, 8), None),
    _of(_generator, "mlp", (2,), None),
    _of(_generator, "text", (6,), Characters(tuple("aé\n "))),
    _of(_generator, "classifier", (1, 8, 8), ClassNames(("cat", "dog", "cow"))),
)
READERS = (
    Reader("params.yaml", (_few_parameters, _few_parameters, _all_parameters), _read_params, 0.6),
    Reader("preset", (_few_parameters,), _read_preset, 0.2),
    Reader("key=value", (_pairs,), _read_pairs, 0.15),
    Reader(
        "prepared",
        (
            _few_images,
            _of(_prepared, name="toy", toy="ring", toy_points=100),
            _of(_prepared, name="text", length=16),
        ),
        _read_prepared,
        2.0,
        {"manifest.json": manifest},
    ),
    Reader(
        "samples",
        tuple(_of(_samples, kind) for kind in ("images", "points", "text", "labels")),
        _read_samples,
        2.0,
    ),
    Reader(
        "judge of images", (_of(_network_judge, 3), _of(_network_judge, 0)), _read_network_judge
    ),
    Reader("judge of points", (_toy_judge,), _read_toy_judge),
    Reader("judge of text", (_text_judge,), _read_text_judge),
    Reader("generator", _GENERATORS, _read_generator, 2.0),
    Reader("arrays", (_arrays,), _read_arrays),
    Reader("snapshot", (_snapshot,), _read_snapshot),
    Reader("checkpoints", (_state(3, 5), _state(5), _state(5)), _read_checkpoints),
    Reader("states", (_state(3, 5),), _read_states),
    Reader("history.csv", (_history,), _read_history, 0.5),
    Reader("metrics", (_metrics,), _read_metrics, 0.5),
)
