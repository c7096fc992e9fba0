"""Files compressed by Zstandard, read as others are; the extra `zstd` unpacks them."""

from __future__ import annotations

import io
from typing import IO, Any, cast

from gan.preparation.extras import need

MAGIC = b"\x28\xb5\x2f\xfd"
_BUFFER_BYTES = 1 << 18


def open_zstd(file: IO[bytes]) -> IO[bytes]:
    """What `file` unpacks to. Seeking forwards reads, and backwards begins anew.

    Raises:
        UserError: zstandard is not installed.
        EOFError: while reading, of damage.
    """
    return cast("IO[bytes]", io.BufferedReader(_Unpacked(file), _BUFFER_BYTES))


class _Unpacked(io.RawIOBase):
    def __init__(self, file: IO[bytes]) -> None:
        self._zstandard = need("zstandard", "zstd", "a file compressed by Zstandard")
        self._file = file
        self._start = file.tell()
        self._reader: Any = self._begin()
        self._place = 0

    def _begin(self) -> Any:
        self._file.seek(self._start)
        decompressor = self._zstandard.ZstdDecompressor()
        return decompressor.stream_reader(self._file, read_across_frames=True, closefd=False)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            count = int(self._reader.readinto(buffer))
        except self._zstandard.ZstdError as error:
            raise EOFError(f"damaged, or packed with too large a window: {error}") from error
        self._place += count
        return count

    def tell(self) -> int:
        return self._place

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if whence == io.SEEK_CUR:
            offset += self._place
        elif whence != io.SEEK_SET:
            raise io.UnsupportedOperation("seeking from the end")
        if offset < self._place:
            self._reader, self._place = self._begin(), 0
        rest = bytearray(_BUFFER_BYTES)
        while self._place < offset:
            wanted = min(len(rest), offset - self._place)
            if not self.readinto(memoryview(rest)[:wanted]):
                break
        return self._place
