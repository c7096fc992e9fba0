"""Packages that some sources need and most people do not."""

from __future__ import annotations

import importlib
from typing import Any

from gan.errors import UserError


def need(package: str, extra: str, what: str) -> Any:
    """The module `package`.

    Args:
        package: as it is imported.
        extra: of this project, which brings it.
        what: needs it, for the message: `data.name parquet` for example.

    Raises:
        UserError: it is not installed; names the extra.
    """
    try:
        return importlib.import_module(package)
    except ImportError:
        raise UserError(
            f"{what} needs {package.partition('.')[0]}, but it is not installed: install the extra "
            f"`{extra}` (pip install 'fusedgan[{extra}]')"
        ) from None
