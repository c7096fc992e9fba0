"""Data sets by name, from a server on this machine."""

from __future__ import annotations

import gzip
import hashlib
import http.server
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from gan.config import DataConfig
from gan.data.prepared import Prepared, open_prepared
from gan.errors import DataError, UserError
from gan.preparation import published
from gan.preparation.prepare import prepare
from gan.preparation.published import PUBLISHED, Published, Remote, cache_folder
from tests.gan.preparation.sources.test_cifar import TEN, binary_10, tar_gz
from tests.gan.preparation.sources.test_idx import images_file, labels_file, some_images

CONTENTS = {
    "train-images-idx3-ubyte.gz": gzip.compress(images_file(some_images(5))),
    "train-labels-idx1-ubyte.gz": gzip.compress(labels_file([3, 1, 4, 1, 7])),
    "t10k-images-idx3-ubyte.gz": gzip.compress(images_file(some_images(2, seed=1))),
    "t10k-labels-idx1-ubyte.gz": gzip.compress(labels_file([1, 3])),
}


class Server:
    """Serves `files`, and keeps what was asked for."""

    def __init__(self) -> None:
        self.files = dict(CONTENTS)
        self.asked: list[str] = []
        self.promised = 0  # bytes more than are sent
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked.append(self.path)
                content = outer.files.get(self.path.rpartition("/")[2])
                if content is None or self.path.startswith("/gone/"):
                    self.send_error(404)
                    return
                self.send_response(200)
                self.send_header("Content-Length", str(len(content) + outer.promised))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *arguments: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    server = Server()
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setenv("FUSEDGAN_CACHE", str(tmp_path / "cache"))
    publish(monkeypatch, server.url)
    yield server
    server.close()


def publish(monkeypatch: pytest.MonkeyPatch, *bases: str) -> None:
    """Let MNIST be the small files of this test, at `bases`."""
    files = tuple(
        Remote(name, hashlib.sha256(content).hexdigest(), tuple(base + name for base in bases))
        for name, content in CONTENTS.items()
    )
    monkeypatch.setitem(PUBLISHED, "mnist", Published("idx", files))


def run(out: Path, name: str = "mnist", **options: object) -> Prepared:
    prepare(DataConfig(name=name, **{"size": 32} | options), out, progress=False)
    return open_prepared(out)


def test_fetched_once_and_then_read_without_a_connection(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = run(tmp_path / "out")
    assert opened.manifest.source == "mnist"
    assert opened.label_names == ["1", "3", "4", "7"]
    assert (opened.images("train")[:, 0, 2:30, 2:30] == some_images(5)).all()
    assert len(opened.images("test")) == 2
    assert sorted(server.asked) == sorted(f"/{name}" for name in CONTENTS)
    kept = {path.name: path.read_bytes() for path in (tmp_path / "cache/mnist").iterdir()}
    assert kept == CONTENTS
    server.close()
    monkeypatch.setitem(sys.modules, "pooch", None)
    assert run(tmp_path / "again").manifest == opened.manifest
    assert len(server.asked) == len(CONTENTS)


def test_another_server_is_tried(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(monkeypatch, server.url + "gone/", server.url + "mirror/")
    run(tmp_path / "out")
    assert [each for each in server.asked if "gone" not in each] == [
        f"/mirror/{name}" for name in CONTENTS
    ]


@pytest.mark.parametrize("trouble", ["gone", "changed", "truncated", "refused"])
def test_what_cannot_be_fetched_says_where_to_put_it(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trouble: str
) -> None:
    name = "t10k-images-idx3-ubyte.gz"
    if trouble == "gone":
        del server.files[name]
    elif trouble == "changed":
        server.files[name] = CONTENTS[name][:-1] + b"x"
    elif trouble == "truncated":
        server.promised = 100
    else:
        server.close()
    with pytest.raises(DataError) as caught:
        run(tmp_path / "out")
    message = str(caught.value)
    missing = name if trouble in ("gone", "changed") else "train-images-idx3-ubyte.gz"
    assert message.startswith("data.name mnist cannot be fetched:\n  " + server.url + missing)
    digest = hashlib.sha256(CONTENTS[missing]).hexdigest()
    folder = tmp_path / "cache/mnist"
    assert message.endswith(
        f"\nWithout a connection put {missing} (SHA-256 {digest}, from {server.url}{missing}) into "
        f"{folder}"
    )
    assert not (tmp_path / "out").exists()
    assert {path.name for path in folder.iterdir()} <= set(CONTENTS) - {missing}
    # And there it is found.
    for each, content in CONTENTS.items():
        (folder / each).write_bytes(content)
    run(tmp_path / "out")


def test_a_file_that_is_not_the_published_one(server: Server, tmp_path: Path) -> None:
    folder = tmp_path / "cache/mnist"
    folder.mkdir(parents=True)
    (folder / "train-images-idx3-ubyte.gz").write_bytes(b"something else")
    digest = hashlib.sha256(b"something else").hexdigest()
    with pytest.raises(DataError, match=rf"idx3-ubyte\.gz has the SHA-256 {digest}: expected"):
        run(tmp_path / "out")
    assert (folder / "train-images-idx3-ubyte.gz").read_bytes() == b"something else"
    assert server.asked == []


def test_without_pooch(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pooch", None)
    with pytest.raises(UserError) as caught:
        run(tmp_path / "out")
    assert str(caught.value) == (
        f"data.name mnist is not in {tmp_path / 'cache/mnist'}: fetching it needs pooch, but it is "
        "not installed: install the extra `download` (pip install 'fusedgan[download]')"
    )
    assert server.asked == []


def test_an_archive(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = tar_gz(tmp_path / "cifar", binary_10()).read_bytes()
    name = "cifar-10-binary.tar.gz"
    server.files[name] = content
    digest = hashlib.sha256(content).hexdigest()
    remote = Remote(name, digest, (server.url + name,))
    monkeypatch.setitem(PUBLISHED, "cifar10", Published("cifar", (remote,)))
    opened = run(tmp_path / "out", "cifar10", channels=3)
    assert opened.manifest.source == "cifar10"
    assert opened.label_names == TEN
    assert len(opened.images("train")) == 20


def test_where_the_cache_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FUSEDGAN_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "fusedgan"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache/fusedgan"
    monkeypatch.setenv("FUSEDGAN_CACHE", "/elsewhere")
    assert cache_folder() == Path("/elsewhere")


def test_every_name_is_one_of_data_name_and_known_by_sha_256() -> None:
    names = DataConfig.model_json_schema()["properties"]["name"]["enum"]
    for name, each in published.PUBLISHED.items():
        assert name in names
        assert each.source in names
        sums = [remote.sha256 for remote in each.files]
        assert len(set(sums)) == len(sums)
        for remote in each.files:
            assert len(bytes.fromhex(remote.sha256)) == 32
            assert all(url.endswith(remote.name) for url in remote.urls)
