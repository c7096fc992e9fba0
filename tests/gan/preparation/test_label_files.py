from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gan.errors import DataError
from gan.preparation.label_files import is_label_file, labels_beside

ROOT = Path("/data/set")


def told(
    names: list[str], files: dict[str, str], table: str = "", column: str = ""
) -> tuple[tuple[str, ...] | None, list[int] | None]:
    """Label names and labels that the files give to images."""
    aside = {name: content.encode() for name, content in files.items()}
    assert all(map(is_label_file(table), aside))
    labels, found = labels_beside(ROOT, names, aside, table, column)
    assert found
    return (None, None) if labels is None else (labels.names, labels.indices.tolist())


def refused(names: list[str], files: dict[str, str], table: str = "", column: str = "") -> str:
    with pytest.raises(DataError) as caught:
        told(names, files, table, column)
    return str(caught.value)


def test_nothing_beside() -> None:
    assert labels_beside(ROOT, ["a/1.png"], {}, "", "") == (None, False)


def test_which_files_are_read() -> None:
    aside = is_label_file("")
    assert aside("dataset.json")
    assert aside("a/dataset.json")
    assert aside("a/1.cls")
    assert not aside("dataset.jsonl")
    assert not aside("labels.csv")
    aside = is_label_file("meta/labels.csv")
    assert aside("meta/labels.csv")
    assert not aside("labels.csv")
    assert not aside("dataset.json")


class TestDatasetJson:
    NAMES = ("00000/a.png", "00000/b.png", "00001/c.png")

    def content(self, labels: object) -> dict[str, str]:
        return {"dataset.json": json.dumps({"labels": labels})}

    def test_labels(self) -> None:
        labels = [["00001/c.png", 10], ["00000/a.png", 2], ["00000/b.png", 10], ["x.png", 3]]
        assert told([*self.NAMES], self.content(labels)) == (("2", "10"), [0, 1, 1])

    def test_below_a_folder(self) -> None:
        names = [f"ffhq/{name}" for name in self.NAMES]
        labels = [[name, place] for place, name in enumerate(self.NAMES)]
        files = {"ffhq/dataset.json": json.dumps({"labels": labels}), "ffhq/x/dataset.json": "7"}
        assert told(names, files) == (("0", "1", "2"), [0, 1, 2])

    @pytest.mark.parametrize("labels", [None, [], [["a.png", 5], ["b.png", 5]]])
    def test_no_labels_whatever_the_folders_are_called(self, labels: object) -> None:
        assert told(["a.png", "b.png"], self.content(labels)) == (None, None)

    def test_of_another_program(self) -> None:
        files = {"dataset.json": '{"images": []}'}
        aside = {name: content.encode() for name, content in files.items()}
        assert labels_beside(ROOT, ["a.png"], aside, "", "") == (None, False)

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ("{", "/data/set/dataset.json is damaged or foreign, expected dataset.json of"),
            ("[" * 100_000, "/data/set/dataset.json is damaged or foreign"),
            ('{"labels": 7}', "has 7 among its labels: expected a name and a class"),
            ('{"labels": [["a.png"]]}', "has ['a.png'] among its labels"),
            ('{"labels": [[1, 2]]}', "has [1, 2] among its labels"),
            ('{"labels": [["a.png", 0.5]]}', "has the label 0.5 of a.png: expected a whole"),
            ('{"labels": [["a.png", [0, 1]]]}', "has the label [0, 1] of a.png"),
            ('{"labels": [["a.png", true]]}', "has the label True of a.png"),
            ('{"labels": [["b.png", 1]]}', "has no label of a.png"),
        ],
    )
    def test_what_it_cannot_be(self, content: str, message: str) -> None:
        assert message in refused(["a.png"], {"dataset.json": content})


class TestClasses:
    def test_a_number_an_image(self) -> None:
        names = ["a/1.seg.png", "a/1.jpg", "b/2.jpg"]
        assert told(names, {"a/1.cls": "10\n", "b/2.cls": " 9"}) == (("9", "10"), [1, 1, 0])

    @pytest.mark.parametrize(
        ("content", "shown"),
        [("cat", "cat"), ("", ""), ("1.5", "1.5"), ("9" * 19, "999"), ("\x1b", "\\x1b")],
    )
    def test_what_it_cannot_be(self, content: str, shown: str) -> None:
        message = refused(["1.jpg"], {"1.cls": content})
        assert "1.cls of /data/set holds" in message
        assert shown in message
        assert message.endswith("expected a whole number, the class")

    def test_an_image_without(self) -> None:
        message = refused(["1.jpg", "2.jpg"], {"1.cls": "0"})
        assert "has labels in files .cls, but none of 2.jpg: expected 2.cls" in message


CELEBA = """3
5_o_Clock_Shadow Smiling Young
000001.jpg -1  1  1
000002.jpg -1 -1  1
000003.jpg  1  1  1
"""


class TestTables:
    NAMES = ("img_align_celeba/000001.jpg", "img_align_celeba/000002.jpg")

    def test_celeba(self) -> None:
        names = [*self.NAMES, "img_align_celeba/000003.jpg"]
        found = told(names, {"attr.txt": CELEBA}, "attr.txt", "Smiling")
        assert found == (("-1", "1"), [1, 0, 1])
        text = "image_id,5_o_Clock_Shadow,Smiling\r\n" + "".join(
            f"00000{i}.jpg,-1,{value}\r\n" for i, value in ((1, 1), (2, -1), (3, 1))
        )
        assert told(names, {"attr.csv": text}, "attr.csv", "Smiling") == found

    @pytest.mark.parametrize("separator", [",", ";", "\t", " "])
    @pytest.mark.parametrize("name", ["{}.png", "{}", "x/{}.png", "./x/{}.png", "x\\{}.png"])
    def test_separators_and_names_in_use(self, separator: str, name: str) -> None:
        rows = [("file", "breed"), (name.format(1), "pug"), (name.format(2), "collie")]
        text = "\ufeff" + "\n".join(separator.join(row) for row in rows)
        assert told(["x/1.png", "x/2.png"], {"l": text}, "l") == (("collie", "pug"), [1, 0])

    def test_the_column_of_names_need_not_be_the_first(self) -> None:
        text = ",label,image\n0,9,b.png\n1,10,a.png\n2,9,c.png\n"
        found = told(["a.png", "b.png", "c.png"], {"l": text}, "l", "label")
        assert found == (("9", "10"), [1, 0, 0])

    def test_quoted_values(self) -> None:
        text = 'file,label\n"a,1.png","big, ""red"""\n"b.png",small\n'
        assert told(["a,1.png", "b.png"], {"l": text}, "l") == (('big, "red"', "small"), [0, 1])

    def test_a_whole_name_comes_before_the_end_of_another(self) -> None:
        text = "file,label\n1.png,0\nx/1.png,1\n"
        assert told(["1.png", "x/1.png"], {"l": text}, "l") == (("0", "1"), [0, 1])

    def test_rows_of_images_that_are_not_there(self, caplog: pytest.LogCaptureFixture) -> None:
        text = "file,label\na,0\nb,1\nc,2\nd,2\n"
        assert told(["a.png", "b.png"], {"l": text}, "l") == (("0", "1"), [0, 1])
        assert "/data/set/l has 2 rows of images that are not there" in caplog.text

    @pytest.mark.parametrize(
        ("text", "column", "message"),
        [
            ("", "", "has 0 rows: expected a header and others"),
            ("file,label\n", "", "has 1 rows"),
            ("file,label\na,1\nb\n", "", "row 3 has 1 columns: expected 2, as its header has"),
            ("file,label\n\x00\n", "", "columns: expected 2"),
            ('file,label\n"a,1\n', "", "/data/set/l is damaged or foreign, expected a table in"),
            ("file,x,y\na,1,2\nb,2,1\n", "", "data.label_column is empty: /data/set/l has the "
             "columns x, y; expected one of them"),
            ("file,x,y\na,1,2\nb,2,1\n", "z", "data.label_column z is none: /data/set/l has"),
            ("file,x,x\na,1,2\nb,2,1\n", "x", "data.label_column x is none"),
            ("file,label\nq,1\n", "", "names none of the images: its first row is q, 1, expected"),
            ("file,label\na,1\n", "", "has no row of 1 of 2 images, b.png for example"),
            ("file,label\na,1\nb,\n", "", "has nothing in column label of b.png"),
            ("file,label\na,1\nb,2\na,2\n", "", "row 4: a is 2 here and 1 above"),
            ("file,label\na,1\nb,1\n", "", "column label: it is 1 of every image, which says"),
        ],
    )  # fmt: skip
    def test_what_it_cannot_be(self, text: str, column: str, message: str) -> None:
        assert message in refused(["a.png", "b.png"], {"l": text}, "l", column)

    def test_names_of_several_images(self) -> None:
        message = refused(["x/1.png", "y/1.png"], {"l": "file,label\n1,0\n1,1\n"}, "l")
        assert "has the image 1, of which there are several in /data/set" in message

    def test_a_table_that_is_not_there(self) -> None:
        with pytest.raises(DataError, match=r"data\.labels l\.csv is no file in data\.path"):
            labels_beside(ROOT, ["a.png"], {}, "l.csv", "")

    def test_no_utf_8(self) -> None:
        with pytest.raises(DataError, match=r"/data/set/l is damaged or foreign.*UTF-8"):
            labels_beside(ROOT, ["a.png"], {"l": b"file,label\na,\xff\n"}, "l", "")

    def test_a_number_an_image_is_no_class(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("gan.preparation.label_files.MAX_CLASSES", 2)
        text = "file,score\n" + "".join(f"{i},{i}.5\n" for i in range(3))
        message = refused([f"{i}.png" for i in range(3)], {"l": text}, "l")
        assert "has 3 different labels: expected at most 2" in message

    @given(st.text(max_size=60))
    def test_any_text_is_an_error_of_ours_or_a_table(self, text: str) -> None:
        try:
            labels, _ = labels_beside(ROOT, ["a.png", "b.png"], {"l": text.encode()}, "l", "")
        except DataError as error:
            assert "/data/set/l" in str(error) or "data.label" in str(error)  # noqa: PT017
        else:
            assert labels is not None
            assert len(labels.indices) == 2


def test_indices_are_int64() -> None:
    labels, _ = labels_beside(ROOT, ["a.png", "b.png"], {"a.cls": b"1", "b.cls": b"0"}, "", "")
    assert labels is not None
    assert labels.indices.dtype == np.int64
