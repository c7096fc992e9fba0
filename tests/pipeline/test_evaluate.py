from pathlib import Path
from types import SimpleNamespace

import pytest

from gan.config import Config
from gan.errors import DataError
from pipeline import evaluate, paths


@pytest.mark.parametrize("kind", ["images", "points", "text"])
@pytest.mark.parametrize("content", [None, b"", b"\x93NUMPY\x01\x00", b"no array"])
def test_samples_that_are_no_array_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None, kind: str
):
    manifest = SimpleNamespace(kind=kind, checksum="")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        evaluate, "open_prepared", lambda folder: SimpleNamespace(manifest=manifest)
    )
    monkeypatch.setattr(evaluate, "load_judge", lambda path, device: None)
    monkeypatch.setattr(evaluate, "load_toy_judge", lambda path, checksum: None)
    monkeypatch.setattr(evaluate, "load_text_judge", lambda path, checksum: None)
    if content is not None:
        paths.SAMPLES.mkdir(parents=True)
        (paths.SAMPLES / "samples.npy").write_bytes(content)
    with pytest.raises(DataError, match=r"samples.npy cannot be read"):
        evaluate.main(Config())


def test_the_line_about_texts_is_of_the_longest_ngrams_there_are():
    def row(value: float | None) -> dict[str, float | None]:
        return {"value": value, "at_floor_count": value, "floor": value, "shuffled": value}

    metrics = {
        "jensen_shannon": {"1": row(0.1), "2": row(0.25), "3": row(None)},
        "words": {"in_held_out": {"value": None, "floor": 0.8, "shuffled": 0.125}},
    }
    assert evaluate.text_summary(metrics) == (
        "Jensen–Shannon divergence of 2-grams 0.250 (real against real 0.250, shuffled 0.250), "
        "none of the words known (real 80.0%, shuffled 12.5%)"
    )
