"""What the script counts; that what it does to DVC holds is in `tests/pipeline/test_repro.py`."""

from pathlib import Path

from ruamel.yaml import YAML

from benchmarks.kill_and_resume import (
    PLACES,
    PLAYING,
    STAGES,
    WINDOW,
    _row,
    began,
    differences,
    summary,
)


def test_every_stage_is_a_place_in_the_order_in_which_they_run():
    file = Path(__file__).parents[2] / "dvc.yaml"
    stages = list(YAML(typ="safe").load(file.read_text())["stages"])
    stages.remove("source")
    assert list(STAGES) == stages
    assert PLACES.index(WINDOW) > PLACES.index(PLAYING) > PLACES.index("train")
    assert PLACES.index("sample") > PLACES.index(WINDOW)


def test_a_stage_began_when_dvc_says_so():
    assert began("train")("Running stage 'train':\n> exec")
    assert not began("train")("Stage 'train' didn't change, skipping")


def test_outs_that_differ_or_that_one_side_lacks():
    assert differences({"a": "1", "b": "2"}, {"b": "3", "c": "4"}) == ["a", "b", "c"]
    assert differences({"a": "1"}, {"a": "1"}) == []


def test_kills_are_counted_by_place():
    said = "train (resumed at 7): 100%"
    mended = ["/x/.dvc/tmp/rwlock was half-written: removed", "/x/dvc.lock was half-written: set"]
    stale = ["/x/.dvc/tmp/rwlock named processes that are gone: removed"]
    published = "note: all 9 steps of this run are in its state"
    rows = [
        {**_row(["repro"], "train", 0.123, True, said, mended), "other_outs": 0},
        {**_row(["exp", "run"], "train", 0.5, False, published, stale), "other_outs": 2},
        {**_row(["repro"], "code", 0.5, True, "", []), "other_outs": 0},
    ]
    assert rows[0] == {
        "command": "dvc repro",
        "place": "train",
        "seconds": 0.12,
        "killed": 1,
        "mended": "rwlock dvc.lock",
        "resumed": 1,
        "published_again": 0,
        "other_outs": 0,
    }
    assert summary(rows) == [
        {
            "place": "code",
            "tried": 1,
            "killed": 1,
            "resumed": 0,
            "published_again": 0,
            "mended": 0,
            "other_outs": 0,
        },
        {
            "place": "train",
            "tried": 2,
            "killed": 1,
            "resumed": 1,
            "published_again": 1,
            "mended": 1,
            "other_outs": 1,
        },
    ]
