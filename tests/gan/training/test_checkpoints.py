import io
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gan.errors import StateError
from gan.training.checkpoints import (
    Checkpoint,
    Damaged,
    aside_in,
    checkpoint_path,
    checkpoints_in,
    pack,
    read,
    seal,
    set_aside,
)

RUN = "0123456789abcdef"
CONTENT = {"weights": torch.arange(3.0), "history": [[1.0, 2.0]], "rng": torch.zeros(4).byte()}
ENVIRONMENT = {"threads": 1, "omp_num_threads": None, "cpu": "AVX2", "torch": "2"}
WHOLE = pack(RUN, Checkpoint(7, CONTENT, (ENVIRONMENT,)))


def sealed(value: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return seal(buffer.getvalue())


def outcome(folder: Path, raw: bytes, step: int = 7) -> Checkpoint:
    path = checkpoint_path(folder, step)
    path.write_bytes(raw)
    return read(path, RUN)


def test_it_comes_back_as_it_was(tmp_path: Path):
    found = outcome(tmp_path, WHOLE)
    assert (found.step, found.environments) == (7, (ENVIRONMENT,))
    assert torch.equal(found.content["weights"], torch.arange(3.0))
    assert found.content["history"] == [[1.0, 2.0]]


def test_it_is_a_file_that_pytorch_and_zip_programs_read(tmp_path: Path):
    path = tmp_path / "x.pt"
    path.write_bytes(WHOLE)
    assert torch.load(path, weights_only=True)["step"] == 7
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        assert archive.comment.startswith(b"sha256:")


@given(place=st.integers(0, len(WHOLE) - 1), bit=st.integers(0, 7))
def test_every_flipped_bit_is_found(tmp_path_factory, place: int, bit: int):
    raw = bytearray(WHOLE)
    raw[place] ^= 1 << bit
    with pytest.raises(Damaged):
        outcome(tmp_path_factory.getbasetemp(), bytes(raw))


@given(
    start=st.integers(0, len(WHOLE)),
    length=st.integers(0, len(WHOLE)),
    instead=st.binary(max_size=100),
)
def test_parts_that_are_missing_or_others_are_found(
    tmp_path_factory, start: int, length: int, instead: bytes
):
    raw = WHOLE[:start] + instead + WHOLE[start + length :]
    if raw != WHOLE:
        with pytest.raises(Damaged):
            outcome(tmp_path_factory.getbasetemp(), raw)


@given(raw=st.binary(max_size=300))
def test_what_was_never_a_checkpoint_is_found(tmp_path_factory, raw: bytes):
    with pytest.raises(Damaged):
        outcome(tmp_path_factory.getbasetemp(), raw)


GOOD = {"fingerprint": RUN, "step": 7, "content": {}, "environments": []}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({**GOOD, "fingerprint": "fedcba9876543210"}, "belongs to another run"),
        ({**GOOD, "fingerprint": torch.zeros(3)}, "belongs to another run"),
        ({**GOOD, "step": 8}, "of step 8"),
        ({**GOOD, "step": 7.0}, "of step 7.0"),
        ({**GOOD, "step": True}, "of step True"),
        ({**GOOD, "step": torch.zeros(3)}, "of step tensor"),
        ({**GOOD, "content": [1]}, "found list as its content"),
        ({**GOOD, "environments": [1]}, "what it was computed with"),
        ({"fingerprint": RUN}, "KeyError"),
        ([1, 2], "TypeError"),
        (None, "TypeError"),
        (Path("x"), "UnpicklingError"),
    ],
)
def test_what_is_sealed_and_yet_no_checkpoint_is_found(tmp_path: Path, value: Any, message: str):
    with pytest.raises(Damaged, match=message):
        outcome(tmp_path, sealed(value))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"not a pickle",
        b"\x80\x02",  # ends at once
        b"\x80\x02.",  # takes from an empty stack: IndexError
        b"\x80\x02K\x07b.",  # the state of a number: AttributeError
        pickle.dumps(Path("x"), protocol=2),
        b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b".",  # nested deep
    ],
)
def test_whatever_unpickling_raises_is_damage(tmp_path: Path, data: bytes):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", data)
        archive.writestr("archive/version", b"3\n")
    with pytest.raises(Damaged):
        outcome(tmp_path, seal(buffer.getvalue()))


@pytest.mark.parametrize("raised", [IndexError("x"), AttributeError("x"), RecursionError("x")])
def test_any_error_of_the_library_is_damage_of_that_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, raised: Exception
):
    def fails(*arguments: object, **named: object) -> None:
        raise raised

    monkeypatch.setattr(torch, "load", fails)
    with pytest.raises(Damaged, match=f"{type(raised).__name__}: x"):
        outcome(tmp_path, WHOLE)


def test_what_is_missing_or_a_folder_cannot_be_read(tmp_path: Path):
    with pytest.raises(StateError, match=r"No such file or directory. It may be sound"):
        read(checkpoint_path(tmp_path, 7), RUN)
    checkpoint_path(tmp_path, 7).mkdir()
    with pytest.raises(StateError, match=r"it is no plain file. It may be sound"):
        read(checkpoint_path(tmp_path, 7), RUN)
    checkpoint_path(tmp_path, 7).rmdir()
    os.mkfifo(checkpoint_path(tmp_path, 7))
    with pytest.raises(StateError, match=r"it is no plain file. It may be sound"):
        read(checkpoint_path(tmp_path, 7), RUN)


def test_checkpoints_are_in_the_order_of_their_steps_and_other_names_are_none(tmp_path: Path):
    for name in (
        "step-000000009.pt",
        "step-1000000000.pt",
        "step-999999999.pt",
        "step-x.pt",
        "step-.pt",
        "step-1.pt",
        "step-000000001.pt.tmp",
        "step-000000003.damaged",
        "step-000000003.damaged-2",
        "step-000000002.damaged",
    ):
        (tmp_path / name).touch()
    assert [step for step, _ in checkpoints_in(tmp_path)] == [10**9, 10**9 - 1, 9]
    assert [path.name for path in aside_in(tmp_path)] == [
        "step-000000002.damaged",
        "step-000000003.damaged",
        "step-000000003.damaged-2",
    ]


def test_setting_aside_overwrites_nothing(tmp_path: Path):
    for content in (b"a", b"b", b"c"):
        checkpoint_path(tmp_path, 3).write_bytes(content)
        set_aside(checkpoint_path(tmp_path, 3))
    assert [path.read_bytes() for path in aside_in(tmp_path)] == [b"a", b"b", b"c"]
