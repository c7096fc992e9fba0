import shutil
from pathlib import Path

import pytest

from benchmarks.prepare_images import ROOT, compare, make_images, measure, packed, revision
from gan.data import open_prepared


@pytest.mark.parametrize("container", ["folder", "tar", "zip"])
def test_a_run_is_measured_in_a_process_of_its_own(tmp_path: Path, container: str):
    make_images(tmp_path / "images", 30, "jpeg", 16)
    path = packed(tmp_path / "images", container)
    cost = measure(path, tmp_path / "out", 16, workers=0)
    assert cost.seconds > 0
    assert cost.processor_seconds > 0
    assert cost.all_bytes >= cost.main_bytes > 0
    prepared = open_prepared(tmp_path / "out")
    assert len(prepared.images("train")) + len(prepared.images("test")) == 30


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """Another checkout, with the same sources."""
    for name in ("gan", "kernels"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, tmp_path / "other" / name, ignore=ignored)
    for file in ROOT.glob("*.py"):  # modules that lie at the top
        shutil.copy(file, tmp_path / "other")
    return tmp_path / "other"


def test_two_checkouts_are_measured_in_turn(tmp_path: Path, other: Path):
    make_images(tmp_path / "images", 20, "png", 8)
    checkouts = {"other": other, "this": ROOT}
    costs = compare(tmp_path / "images", tmp_path / "out", 8, 0, checkouts, repeat=1)
    assert [len(costs[name]) for name in ("other", "this")] == [1, 1]
    assert revision(other) == "other"  # no commit to name


def test_a_checkout_that_prepares_other_bytes_is_refused(tmp_path: Path, other: Path):
    with (other / "gan" / "preparation" / "prepare.py").open("a") as code:
        code.write(
            "\nas_it_was = prepare"
            "\ndef prepare(config, out, **options):"
            "\n    as_it_was(config, out, **options)"
            "\n    for array in sorted(__import__('pathlib').Path(out).glob('*.npy')):"
            "\n        array.write_bytes(array.read_bytes() + b'more')\n"
        )
    make_images(tmp_path / "images", 20, "png", 8)
    with pytest.raises(SystemExit, match="the arrays that were prepared differ"):
        compare(tmp_path / "images", tmp_path / "out", 8, 0, {"this": ROOT, "other": other}, 1)


def test_a_folder_that_is_no_checkout_is_named(tmp_path: Path):
    with pytest.raises(SystemExit, match="no checkout"):
        revision(tmp_path)
