import subprocess
import sys
from pathlib import Path

import pytest

from gan.config import Config
from gan.errors import ConfigError, StateError, TrainingError
from pipeline.params import read_config, run_stage

ROOT = Path(__file__).parents[2]


def test_numbers_are_yaml_1_2(tmp_path: Path):
    file = tmp_path / "params.yaml"
    file.write_text("train: {generator_learning_rate: 2e-4}\nseed: 010\n")
    config = read_config(file)
    assert config.train.generator_learning_rate == 2e-4
    assert config.seed == 10  # YAML 1.1 reads an octal number


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seed: [1", "is not valid YAML"),
        ("- 1", "found list, expected a mapping of sections"),
        ("", "found NoneType, expected a mapping"),
        ("seed: 1\nseed: 2\n", "is not valid YAML.*duplicate key"),
    ],
)
def test_a_file_that_is_not_parameters_is_named(tmp_path: Path, text: str, message: str):
    file = tmp_path / "params.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=rf"(?s)params.yaml.*{message}"):
        read_config(file)


def test_a_missing_file_is_named(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"cannot read .*nothing.yaml: No such file"):
        read_config(tmp_path / "nothing.yaml")


@pytest.mark.parametrize(
    ("path", "out"),
    [
        (".", "data/prepared"),
        ("data", "data/prepared"),
        ("data/prepared/train.npy", "data/prepared"),
        ("raw/../results", "results"),
        ("models", "models"),
        ("metrics/x", "metrics"),
    ],
)
def test_data_among_what_the_stages_write_are_refused(
    tmp_path: Path, monkeypatch, path: str, out: str
):
    monkeypatch.chdir(tmp_path)
    for each in (path, str(tmp_path / path)):
        Path("params.yaml").write_text(f"data: {{path: '{each}'}}\n")
        with pytest.raises(ConfigError) as caught:
            read_config()
        assert str(caught.value) == (
            f"params.yaml: data.path is {each}, where the stages themselves write ({out}): "
            "expected a folder, an archive or a file of data alone, data/raw for example"
        )
    for path in ("data/raw", "..", "database", str(tmp_path / "photos")):
        Path("params.yaml").write_text(f"data: {{path: '{path}'}}\n")
        if path == "..":  # what is around the project holds it as well
            with pytest.raises(ConfigError, match=r"data\.path is \.\., where the stages"):
                read_config()
        else:
            assert read_config().data.path == path


@pytest.mark.parametrize(
    ("error", "status"),
    [(StateError("bad input"), 2), (TrainingError("diverged"), 1), (KeyboardInterrupt(), 130)],
)
def test_a_stage_ends_with_the_status_it_deserves(monkeypatch, capsys, error, status: int):
    monkeypatch.chdir(ROOT)

    def stage(config: Config) -> None:
        raise error

    with pytest.raises(SystemExit) as caught:
        run_stage(stage)
    assert caught.value.code == status
    assert capsys.readouterr().err == (f"error: {error}\n" if str(error) else "")


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["prepare", "judge", "train", "sample", "evaluate"])
def test_bad_parameters_end_every_stage_before_any_work(tmp_path: Path, stage: str):
    (tmp_path / "params.yaml").write_text("train: {steps: many}\ndata: {sise: 3}\n")
    done = subprocess.run(
        [sys.executable, "-m", f"pipeline.{stage}"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: params.yaml: 2 errors\n")
    assert "train.steps: found 'many'" in done.stderr
    assert "data.sise: unknown key" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["params.yaml"]
