"""The table of adversarial classification: rows, resuming, and the baseline beside it."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tqdm import tqdm

from benchmarks import adversarial_classification as benchmark
from gan.data.batches import Labelled
from gan.data.meaning import label_alphabet
from gan.data.prepared import Prepared
from gan.generators.prediction import predict
from gan.pixels import from_uint8
from gan.training.trainer import trainer_of

CPU = torch.device("cpu")
TINY = (
    "data.size=8",
    "model.generator_width=4",
    "model.discriminator_width=4",
    "train.batch_size=16",
    "objective.discrete.samples=20",
    "runtime.workers=0",
)
SOME = {
    benchmark.CROSS_ENTROPY: {},
    **{
        name: benchmark.methods()[name]
        for name in ("kl importance", "gan reinforce", "WGAN, clip 0.1, rate 1e-3")
    },
}


def prepared(work: Path) -> Prepared:
    config = benchmark.configure(benchmark.CROSS_ENTROPY, "digits", TINY, 3, 0)
    return benchmark.prepared_data(config, work)


def test_every_method_has_one_budget_and_differs_where_it_says():
    configs = {name: benchmark.configure(name, "digits", (), 7, 1) for name in benchmark.methods()}
    assert len(configs) == 1 + 6 * 2 + 3
    assert {(config.train.steps, config.seed) for config in configs.values()} == {(7, 1)}
    games = [config for name, config in configs.items() if not name.startswith("WGAN")]
    # One setting for all divergences and both estimators.
    assert len({str(config.train) + str(config.model) for config in games}) == 1
    assert {config.objective.discriminator for config in games} == set(benchmark.DIVERGENCES)
    assert all(config.objective.output == "log_ratio" for config in games)
    for name, clip in (
        ("0.01, rate 5e-5", 0.01),
        ("0.01, rate 1e-3", 0.01),
        ("0.1, rate 1e-3", 0.1),
    ):
        config = configs[f"WGAN, clip {name}"]
        assert config.objective.weight_clip == clip
        assert config.train.discriminator_optimiser == "rmsprop"
        assert config.train.generator_learning_rate == float(name.rpartition(" ")[2])


def test_cross_entropy_starts_where_the_game_does_and_takes_the_same_batches(tmp_path: Path):
    config = benchmark.configure(benchmark.CROSS_ENTROPY, "digits", TINY, 1, 0)
    data = prepared(tmp_path)
    game = trainer_of(config, data, device=CPU)
    classifier = game.generator
    batch = game._batches.next()
    assert isinstance(batch, Labelled)
    loss = F.cross_entropy(classifier(from_uint8(batch.examples)), batch.labels)
    loss.backward()
    game.players.generator_optimiser.step()
    with tqdm(disable=True) as bar:
        found = benchmark.fit_by_cross_entropy(config, data, CPU, bar)
    # The average takes the first step in nearly whole: see `ema_warmup`.
    mine, textbook = found.dense.weight, classifier.dense.weight
    start = trainer_of(config, data, device=CPU).generator.dense.weight
    share = ((mine - start) / (textbook - start)).detach()
    torch.testing.assert_close(
        share, torch.full_like(share, float(share.mean())), rtol=1e-3, atol=0
    )
    assert 0.5 < share.mean() <= 1


def test_cross_entropy_learns(tmp_path: Path):
    config = benchmark.configure(benchmark.CROSS_ENTROPY, "digits", TINY, 150, 0)
    data = prepared(tmp_path)
    with tqdm(disable=True) as bar:
        row = benchmark.run(benchmark.CROSS_ENTROPY, config, data, tmp_path, CPU, bar)
    assert row["test_error"] < 0.25  # nine of ten by chance
    assert row["steps"] == 150
    assert not row["failed"]


def test_what_diverges_is_a_row_that_says_so(tmp_path: Path):
    pairs = (*TINY, "train.generator_learning_rate=1.0", "train.precision=fp32")
    config = benchmark.configure(benchmark.CROSS_ENTROPY, "digits", pairs, 3, 0)
    data = prepared(tmp_path)

    def broken(*_: object) -> None:
        raise benchmark.TrainingError("the cross-entropy became nan; a smaller rate may help")

    with pytest.MonkeyPatch.context() as patch, tqdm(total=3, disable=True) as bar:
        patch.setattr(benchmark, "fit_by_cross_entropy", broken)
        row = benchmark.run(benchmark.CROSS_ENTROPY, config, data, tmp_path, CPU, bar)
    assert row["failed"] == "the cross-entropy became nan"
    assert "test_error" not in row


def test_the_table_is_mean_and_deviation_in_per_cent():
    rows = [
        {"game": "kl importance", "seed": seed, "failed": "", "test_error": error}
        for seed, error in enumerate((0.01, 0.03))
    ] + [
        {"game": "kl reinforce", "seed": 0, "failed": "", "test_error": 0.5},
        {"game": "kl reinforce", "seed": 1, "failed": "it diverged"},
        {"game": benchmark.CROSS_ENTROPY, "seed": 0, "failed": "", "test_error": 0.02},
    ]
    lines = {line[""]: line for line in benchmark.table(rows)}
    assert lines["kl"]["importance"] == "2.00 ± 1.00"
    assert lines["kl"]["reinforce"] == "50.00 ± 0.00 (1 of 2 failed)"
    assert lines[benchmark.CROSS_ENTROPY]["importance"] == "2.00 ± 0.00"
    assert lines["gan"]["importance"] == "–"


def test_finished_runs_are_not_run_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(benchmark, "methods", lambda: SOME)
    output = tmp_path / "table.csv"
    command = [
        "--seeds", "1", "--steps", "4", "--device", "cpu",
        "--work", str(tmp_path / "work"), "--output", str(output), *TINY,
    ]  # fmt: skip
    assert benchmark.main(command) == 0
    with output.open() as file:
        rows = list(csv.DictReader(file))
    assert [row["game"] for row in rows] == list(SOME)
    assert all(0 <= float(row["test_error"]) <= 1 for row in rows)
    text = output.with_suffix(".md").read_text()
    assert "| kl |" in text
    # One row is lost: it alone is run again, to the same result.
    lines = output.read_text().splitlines(keepends=True)
    output.write_text("".join(lines[:-1]))
    capsys.readouterr()
    assert benchmark.main(command) == 0
    assert "3 runs are there, 1 to go" in capsys.readouterr().err
    with output.open() as file:
        again = list(csv.DictReader(file))
    assert [row["test_error"] for row in again] == [row["test_error"] for row in rows]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--seeds", "0"], "--seeds is 0"),
        (["--steps", "0"], "--steps is 0"),
        (["--data", "nothing"], "there is no preset 'nothing'"),
        (["data.levels=2"], "model.name classifier takes images as they are"),
    ],
)
def test_bad_arguments_are_named(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert benchmark.main([*arguments, "--work", str(tmp_path)]) == 2
    assert message in capsys.readouterr().err


def test_predictions_have_a_column_a_label(tmp_path: Path):
    config = benchmark.configure("kl importance", "digits", TINY, 2, 0)
    data = prepared(tmp_path)
    trainer = trainer_of(config, data, device=CPU)
    found = predict(trainer.average, data.images("test"))
    assert found.shape == (len(data.images("test")), label_alphabet(data).size)
    np.testing.assert_allclose(found.sum(1), 1, rtol=1e-5)
