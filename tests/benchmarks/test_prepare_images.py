from pathlib import Path

from benchmarks.prepare_images import make_images, measure
from gan.data import open_prepared


def test_a_run_is_measured_in_a_process_of_its_own(tmp_path: Path):
    make_images(tmp_path / "images", 30, "jpeg", 16)
    cost = measure(tmp_path / "images", tmp_path / "out", 16, workers=0)
    assert cost.seconds > 0
    assert cost.all_bytes >= cost.main_bytes > 0
    prepared = open_prepared(tmp_path / "out")
    assert len(prepared.images("train")) + len(prepared.images("test")) == 30
