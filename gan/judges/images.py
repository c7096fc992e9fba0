"""The judge: a small network whose features every experiment on the same data is measured in.

It is fitted once on the training split, offline, and written to one file. With labels it is a
classifier, without them the encoder of an autoencoder. Either way a feature is the activation of
the last hidden layer, so that distances between images mean "looks alike to someone who knows this
data set", which a network fitted on photographs cannot say of digits.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from gan.config import JudgeConfig, parse
from gan.data.prepared import Prepared
from gan.errors import (
    ConfigError,
    DataError,
    StateError,
    TrainingError,
    UserError,
    reading,
    shown,
)
from gan.judges.file import FORMAT_VERSION, KIND, check_data
from gan.judges.networks import (
    Architecture,
    build_body,
    build_decoder,
    build_head,
    materialise,
    shift_randomly,
)
from gan.pixels import Images, from_uint8
from gan.runtime import stream_seed
from gan.schedules import learning_rate_factor, set_learning_rate, warmed_up
from gan.tensor_file import check_weights, in_one_line, read_tensors, refuse, write_tensors

WEIGHT_DECAY = 1e-2
WARMUP = 0.1  # share of the steps in which the learning rate rises
HISTORY_ROWS = 100
BATCH_SIZE = 512  # where nothing is learnt


@dataclass(frozen=True)
class JudgeReport:
    """How well a judge does on the test split, which it was not fitted on.

    `test_loss` is a classifier's cross-entropy in nats, or an autoencoder's mean squared error with
    pixels in [−1, 1]. `explained_variance` is an autoencoder's 1 − error / variance, where the
    variance is the error of the test split's mean image.
    """

    kind: str
    test_loss: float
    test_accuracy: float | None
    explained_variance: float | None
    images_seen: int
    parameters: int
    checksum: str
    # Columns of equal length: step, loss, and a classifier's accuracy on augmented batches.
    history: dict[str, list[float]] = field(repr=False)

    def metrics(self) -> dict[str, Any]:
        """The report without its history, for a JSON file; what does not apply is left out."""
        values = {key: value for key, value in asdict(self).items() if key != "history"}
        return {key: value for key, value in values.items() if value is not None}


class Judge:
    """A fitted network: images in, features and class probabilities out."""

    def __init__(
        self,
        architecture: Architecture,
        body: nn.Module,
        head: nn.Module | None,
        *,
        label_names: list[str] | None,
        data_checksum: str,
    ) -> None:
        """Wrap fitted networks; they are frozen and put into evaluation mode.

        Args:
            architecture: what `body` and `head` were built from.
            body: images `[B, C, S, S]` in [−1, 1] to features `[B, features]`.
            head: features to class logits; None for an autoencoder.
            label_names: one name a class; None for an autoencoder.
            data_checksum: of the prepared data that the networks were fitted on.
        """
        self.architecture = architecture
        self.label_names = label_names
        self.data_checksum = data_checksum
        parts = {"body": body} if head is None else {"body": body, "head": head}
        self._network = nn.ModuleDict(parts).eval().requires_grad_(False)

    @property
    def classes(self) -> int:
        """Number of classes; 0 for an autoencoder."""
        return self.architecture.classes

    @property
    def device(self) -> torch.device:
        """Where the networks are."""
        return next(self._network.parameters()).device

    @property
    def checksum(self) -> str:
        """SHA-256 of architecture and weights: judges that agree on it see the same."""
        digest = hashlib.sha256(json.dumps(asdict(self.architecture), sort_keys=True).encode())
        for name, tensor in sorted(self.tensors().items()):
            digest.update(name.encode())
            digest.update(tensor.numpy().tobytes())
        return digest.hexdigest()

    def parameters(self) -> Iterator[nn.Parameter]:
        """The weights, frozen."""
        return self._network.parameters()

    def tensors(self) -> dict[str, Tensor]:
        """Weights and running statistics by name, on the CPU, in plain strides."""
        state = self._network.state_dict()
        return {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}

    def features(self, images: Images, batch_size: int = BATCH_SIZE) -> Tensor:
        """Features of `images`, batch by batch.

        Args:
            images: uint8 `[N, C, S, S]`, an array or a memory map.
            batch_size: images at once; bounds the memory; changes the result by rounding only.

        Returns:
            fp32 `[N, features]` on the CPU.

        Raises:
            UserError: `images` is not uint8 or not of the shape that the judge was fitted on.
        """
        return self._run(images, batch_size, self.architecture.features, lambda rows: rows)

    def features_and_probabilities(
        self, images: Images, batch_size: int = BATCH_SIZE
    ) -> tuple[Tensor, Tensor]:
        """Features fp32 `[N, features]` and class probabilities fp32 `[N, classes]`, on the CPU.

        Raises:
            UserError: as `features`, or the judge is an autoencoder.
        """
        if not self.classes:
            raise UserError("the judge is an autoencoder: without labels it has no probabilities")
        head = self._network["head"]
        sizes = [self.architecture.features, self.classes]
        both = self._run(
            images, batch_size, sum(sizes), lambda rows: torch.cat([rows, head(rows).softmax(1)], 1)
        )
        features, probabilities = both[:, : sizes[0]], both[:, sizes[0] :]
        return features.contiguous(), probabilities.contiguous()

    @torch.no_grad()
    def _run(
        self, images: Images, batch_size: int, columns: int, finish: Callable[[Tensor], Tensor]
    ) -> Tensor:
        shape = (self.architecture.channels, self.architecture.size, self.architecture.size)
        if images.dtype != np.uint8 or images.shape[1:] != shape:
            raise UserError(
                f"images are {images.dtype} {list(images.shape)}: the judge was fitted on uint8 "
                f"{['N', *shape]}"
            )
        # Filled in place: to join a list of batches would need twice the memory at its end.
        result = torch.empty(len(images), columns)
        body = self._network["body"]
        with _reproducible():
            for start in range(0, len(images), batch_size):
                batch = _to_network(images[start : start + batch_size], self.device)
                result[start : start + len(batch)] = finish(body(batch)).cpu()
        return result


def make(
    prepared: Prepared, config: JudgeConfig, path: Path, device: torch.device
) -> dict[str, Any]:
    """Fit a judge to `prepared`, write it to `path`, and report on it; raises as `fit_judge`."""
    judge, report = fit_judge(prepared, config, device=device)
    save_judge(judge, path)
    return report.metrics()


def load(path: Path, prepared: Prepared, device: torch.device) -> Judge:
    """The judge at `path`, fitted on `prepared`.

    Raises:
        StateError: as `load_judge`, or it is of other data.
    """
    judge = load_judge(path, device)
    check_data(path, "images", judge.data_checksum, prepared.manifest.checksum)
    return judge


def fit_judge(
    prepared: Prepared, config: JudgeConfig, *, device: torch.device, progress: bool = True
) -> tuple[Judge, JudgeReport]:
    """Fit a judge on the training split and report how it does on the test split.

    A classifier where the split has labels of at least two classes, else an autoencoder. AdamW
    with a learning rate that rises linearly and falls along a cosine; images are moved by up to a
    sixteenth of their size. There is no label smoothing: the inception score needs probabilities
    that mean something. Same data, configuration and machine give the same weights, bit for bit.

    Raises:
        DataError: fewer than two training images or no test image.
        TrainingError: the loss is not finite; names the step.
    """
    images, labels = prepared.images("train"), prepared.labels("train")
    if len(images) < 2 or not len(prepared.images("test")):
        raise DataError(
            f"the judge needs two training images and a test image, found {len(images)} and "
            f"{len(prepared.images('test'))}"
        )
    if labels is not None and len(np.unique(labels)) < 2:
        labels = None
    names = prepared.manifest.label_names if labels is not None else None
    architecture = Architecture(
        kind="autoencoder" if names is None else "classifier",
        channels=images.shape[1],
        size=images.shape[2],
        width=config.width,
        features=config.features,
        classes=0 if names is None else len(names),
    )
    rng = torch.Generator().manual_seed(stream_seed(config.seed, "judge"))
    with torch.device("meta"):
        body = build_body(architecture)
        tip = build_head(architecture) if names is not None else build_decoder(architecture)
    network = materialise(nn.Sequential(body, tip), device, rng)
    with _reproducible():
        history = _fit(network, images, labels, config, device, rng, progress)
    head = tip if names is not None else None
    judge = Judge(
        architecture, body, head, label_names=names, data_checksum=prepared.manifest.checksum
    )
    test_images, test_labels = prepared.images("test"), prepared.labels("test")
    accuracy = explained = None
    if test_labels is not None and names is not None:
        loss, accuracy = _test_classifier(judge, test_images, test_labels)
    else:
        loss, explained = _test_autoencoder(network.eval(), test_images, device)
    return judge, JudgeReport(
        kind=architecture.kind,
        test_loss=loss,
        test_accuracy=accuracy,
        explained_variance=explained,
        images_seen=config.images_seen,
        parameters=sum(each.numel() for each in judge.parameters()),
        checksum=judge.checksum,
        history=history,
    )


def save_judge(judge: Judge, path: str | os.PathLike[str]) -> None:
    """Write `judge` to `path` (safetensors), whole or not at all. Same judge, same bytes."""
    write_tensors(
        path,
        judge.tensors(),
        kind=KIND,
        version=FORMAT_VERSION,
        description={
            "architecture": asdict(judge.architecture),
            "pixels": "uint8 / 127.5 - 1",
            "label_names": judge.label_names,
            "data_checksum": judge.data_checksum,
        },
    )


def load_judge(path: str | os.PathLike[str], device: torch.device | str = "cpu") -> Judge:
    """Load what `save_judge` wrote.

    Raises:
        StateError: the file is missing, damaged, not a judge, of another version, has an
            architecture that `params.yaml` could not have, or its tensors do not fit that or are
            not finite.
    """
    path = Path(path)
    description, tensors = read_tensors(path, kind=KIND, version=FORMAT_VERSION, device=device)
    with reading(path, "a judge of images", StateError):
        architecture = Architecture(**description["architecture"])
        try:
            # By the same rules as what `params.yaml` asks for, before anything is built.
            sizes = {key: getattr(architecture, key) for key in ("width", "features")}
            parse(JudgeConfig, sizes, f"{shown(path)} (judge)")
        except ConfigError as error:
            refuse(path, KIND, f"its architecture is not understood: {in_one_line(error)}")
        with torch.device("meta"):
            body = build_body(architecture)
            head = build_head(architecture) if architecture.classes else None
        parts = nn.ModuleDict({"body": body} if head is None else {"body": body, "head": head})
        check_weights(path, KIND, parts.state_dict(), tensors)
        parts.load_state_dict(tensors, assign=True)
        parts.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return Judge(
            architecture,
            body,
            head,
            label_names=_names(description["label_names"], architecture.classes),
            data_checksum=description["data_checksum"],
        )


def _names(values: Any, classes: int) -> list[str] | None:
    """Of a classifier's classes, out of a file's description; None of an autoencoder's."""
    if values is None and not classes:
        return None
    if not isinstance(values, list) or not all(isinstance(each, str) for each in values):
        raise TypeError(f"label_names are {shown(values)}: expected a list of names")
    if not classes or len(values) != classes:
        raise ValueError(f"there are {len(values)} label_names, but {classes} classes")
    return values


def _fit(
    network: nn.Module,
    images: Images,
    labels: npt.NDArray[np.int64] | None,
    config: JudgeConfig,
    device: torch.device,
    rng: torch.Generator,
    progress: bool,
) -> dict[str, list[float]]:
    """Fit `network` in place; its history, averaged over each interval of about a hundredth."""
    batch_size = min(config.batch_size, len(images))
    steps = max(1, round(config.images_seen / batch_size))
    interval = max(1, steps // HISTORY_ROWS)
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=config.learning_rate, weight_decay=WEIGHT_DECAY
    )
    history: dict[str, list[float]] = {"step": [], "loss": []}
    if labels is not None:
        history["accuracy"] = []
    network.train()
    totals = torch.zeros(2, device=device)  # loss, hits; on the device, so that no step waits
    since = 0
    order = _endless_order(len(images), batch_size, rng)
    with tqdm(total=steps, desc="judge", unit="step", disable=not progress) as bar:
        for step in range(1, steps + 1):
            index = next(order)
            batch = shift_randomly(torch.from_numpy(images[index]), images.shape[2] // 16, rng)
            inputs = from_uint8(batch.to(device)).contiguous(memory_format=torch.channels_last)
            outputs = network(inputs)
            if labels is None:
                loss = F.mse_loss(outputs, inputs)
            else:
                target = torch.from_numpy(labels[index]).to(device)
                loss = F.cross_entropy(outputs, target)
                totals[1] += (outputs.detach().argmax(1) == target).float().mean()
            optimizer.zero_grad()
            loss.backward()
            set_learning_rate(
                optimizer,
                config.learning_rate
                * warmed_up(step - 1, steps, WARMUP)
                * learning_rate_factor("cosine", step - 1, steps),
            )
            optimizer.step()
            totals[0] += loss.detach()
            since += 1
            if step % interval == 0 or step == steps:
                mean_loss, mean_hits = (totals / since).tolist()
                if not math.isfinite(mean_loss):
                    raise TrainingError(
                        f"the judge's loss is {mean_loss} at step {step} of {steps}: try a smaller "
                        f"judge.learning_rate (now {config.learning_rate})"
                    )
                history["step"].append(step)
                history["loss"].append(mean_loss)
                if labels is not None:
                    history["accuracy"].append(mean_hits)
                bar.set_postfix(loss=f"{mean_loss:.3f}")
                bar.update(since)
                totals.zero_()
                since = 0
    return history


def _endless_order(
    count: int, batch_size: int, rng: torch.Generator
) -> Iterator[npt.NDArray[np.int64]]:
    """Batches of indices, a new permutation each epoch; an incomplete last batch is passed over."""
    while True:
        order = torch.randperm(count, generator=rng).numpy()
        for start in range(0, count - batch_size + 1, batch_size):
            # In order within a batch: kinder to a memory map.
            yield np.sort(order[start : start + batch_size])


def _to_network(images: Images, device: torch.device) -> Tensor:
    batch = torch.from_numpy(np.ascontiguousarray(images)).to(device)
    return from_uint8(batch).contiguous(memory_format=torch.channels_last)


def _test_classifier(
    judge: Judge, images: Images, labels: npt.NDArray[np.int64]
) -> tuple[float, float]:
    """Mean cross-entropy and accuracy."""
    _, probabilities = judge.features_and_probabilities(images)
    target = torch.from_numpy(np.array(labels))
    # log of a probability that underflowed would be −∞; the smallest normal fp32 stands for it.
    chosen = probabilities.gather(1, target[:, None]).clamp_min(torch.finfo(torch.float32).tiny)
    hits = probabilities.argmax(1) == target
    return -chosen.double().log().mean().item(), hits.double().mean().item()


@torch.no_grad()
def _test_autoencoder(
    network: nn.Module, images: Images, device: torch.device
) -> tuple[float, float]:
    """Mean squared error a pixel, and the share of the variance that is explained."""
    error = 0.0
    total = torch.zeros(images.shape[1:], dtype=torch.float64)
    squares = 0.0
    for start in range(0, len(images), BATCH_SIZE):
        batch = _to_network(images[start : start + BATCH_SIZE], device)
        output, image = network(batch).cpu().double(), batch.cpu().double()
        error += (output - image).square().sum().item()
        total += image.sum(0)
        squares += image.square().sum().item()
    variance = squares - total.square().sum().item() / len(images)
    # A test split of identical images has no variance to explain.
    return error / images.size, 1 - error / variance if variance > 0 else 0.0


@contextmanager
def _reproducible() -> Iterator[None]:
    """Convolutions that give the same bits every time, and the CPU's precision, on a GPU too."""
    with torch.backends.cudnn.flags(
        enabled=True, benchmark=False, deterministic=True, allow_tf32=False
    ):
        yield
