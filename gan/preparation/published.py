"""Data sets by name: where they are published, and by which checksum they are known.

They are fetched once into a cache outside of the repository, by pooch (the extra `download`), and
checked whenever they are used; files that were put there by hand are as good. The checksums are
SHA-256, of the files as their authors publish them; TensorFlow Datasets and others list the same.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Literal, NamedTuple

from gan.errors import DataError, reading, shown
from gan.preparation.extras import need

# Where the cache is, instead of the user's own.
CACHE_VARIABLE = "FUSEDGAN_CACHE"
TIMEOUT_SECONDS = 30

_IDX_FILES = (
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
)


class Remote(NamedTuple):
    """A file that is published."""

    name: str
    sha256: str
    urls: tuple[str, ...]  # tried in this order


class Published(NamedTuple):
    """A data set that is published."""

    source: Literal["idx", "cifar"]  # which source reads it
    files: tuple[Remote, ...]

    def path(self, folder: Path) -> Path:
        """What the source takes as its path."""
        return folder if self.source == "idx" else folder / self.files[0].name


def _idx(sums: tuple[str, ...], *bases: str) -> Published:
    return Published(
        "idx",
        tuple(
            Remote(name, digest, tuple(base + name for base in bases))
            for name, digest in zip(_IDX_FILES, sums, strict=True)
        ),
    )


def _cifar(classes: int, digest: str) -> Published:
    name = f"cifar-{classes}-binary.tar.gz"
    return Published(
        "cifar", (Remote(name, digest, (f"https://www.cs.toronto.edu/~kriz/{name}",)),)
    )


PUBLISHED = {
    "mnist": _idx(
        (
            "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
            "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
            "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
            "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
        ),
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
    ),
    "fashion_mnist": _idx(
        (
            "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
            "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
            "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
            "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
        ),
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    ),
    "kmnist": _idx(
        (
            "51467d22d8cc72929e2a028a0428f2086b092bb31cfb79c69cc0a90ce135fde4",
            "e38f9ebcd0f3ebcdec7fc8eabdcdaef93bb0df8ea12bee65224341c8183d8e17",
            "edd7a857845ad6bb1d0ba43fe7e794d164fe2dce499a1694695a792adfac43c5",
            "20bb9a0ef54c7db3efc55a92eef5582c109615df22683c380526788f98e42a1c",
        ),
        "http://codh.rois.ac.jp/kmnist/dataset/kmnist/",
    ),
    "cifar10": _cifar(10, "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"),
    "cifar100": _cifar(100, "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec"),
}


def cache_folder() -> Path:
    """Where data sets are kept: `$FUSEDGAN_CACHE`, or `fusedgan` in the user's cache."""
    chosen = os.environ.get(CACHE_VARIABLE)
    if chosen:
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "fusedgan"


def fetched(name: str) -> Path:
    """The data set `name` on this machine, fetched if it is not there yet, and checked.

    Raises:
        DataError: a file cannot be had, or is another than the one that is published; says where to
            put it.
        UserError: something has to be fetched, and pooch is not installed.
    """
    published = PUBLISHED[name]
    folder = cache_folder() / name
    for remote in published.files:
        path = folder / remote.name
        if not path.exists():
            _fetch(name, remote, folder)
        _check(path, remote)
    return published.path(folder)


def _check(path: Path, remote: Remote) -> None:
    with reading(path, f"{remote.name} as it is published"), path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != remote.sha256:
        raise DataError(
            f"{shown(path)} has the SHA-256 {found}: expected {remote.sha256}, that of the file as "
            "it is published; remove it, and it is fetched anew. Other versions of a data set are "
            "read by path, with data.name idx or cifar"
        )


def _fetch(name: str, remote: Remote, folder: Path) -> None:
    by_hand = (
        f"Without a connection put {remote.name} (SHA-256 {remote.sha256}, from {remote.urls[0]}) "
        f"into {shown(folder, 400)}"
    )
    pooch = need(
        "pooch", "download", f"data.name {name} is not in {shown(folder, 400)}: fetching it"
    )
    reasons = []
    for url in remote.urls:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            pooch.retrieve(
                url,
                known_hash=f"sha256:{remote.sha256}",
                fname=remote.name,
                path=folder,
                downloader=pooch.HTTPDownloader(timeout=TIMEOUT_SECONDS),
            )
        except MemoryError:
            raise
        except Exception as error:  # of requests, of the system, of pooch: another server may do
            reasons.append(f"{url}: {shown(str(error), 300) or type(error).__name__}")
        else:
            return
    listing = "\n".join(f"  {reason}" for reason in reasons)
    raise DataError(f"data.name {name} cannot be fetched:\n{listing}\n{by_hand}")
