import sys
from pathlib import Path

import pytest

from gan.config import DataConfig
from gan.errors import UserError
from gan.preparation.extras import need
from gan.preparation.sources import open_source


def test_what_is_there() -> None:
    assert need("json", "parquet", "data.name parquet").loads("1") == 1


@pytest.mark.parametrize(
    ("name", "package", "extra"),
    [("parquet", "pyarrow", "parquet"), ("lmdb", "lmdb", "lmdb")],
)
def test_a_missing_package_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, package: str, extra: str
) -> None:
    for each in (package, f"{package}.parquet"):
        monkeypatch.setitem(sys.modules, each, None)
    with pytest.raises(UserError) as caught:
        open_source(DataConfig(name=name, path=str(tmp_path)))
    assert str(caught.value) == (
        f"data.name {name} needs {package}, but it is not installed: install the extra `{extra}` "
        f"(pip install 'fusedgan[{extra}]')"
    )
