"""The help texts on topics of the language that come with Python: some 460 kB of English, offline.

They are those of the Python that runs, so another version of it has other data.
"""

from __future__ import annotations

import functools

from gan.config import DataConfig
from gan.errors import UserError
from gan.preparation.sources import Source
from gan.preparation.text import Text, text_source


def open_source(config: DataConfig, workers: int = 0) -> Source:
    """The topics in the order of their names.

    Nothing is decoded, so `workers` is not used.

    Raises:
        UserError: this Python comes without them.
    """
    try:
        from pydoc_data.topics import topics
    except ImportError:
        raise UserError(
            "data.name is topics, but this Python comes without its help texts, pydoc_data: use "
            "another Python, or data.name text with a file of your own"
        ) from None
    texts = [
        Text(f"topics/{name}", functools.partial(iter, [topics[name]])) for name in sorted(topics)
    ]
    return text_source(texts, config, "data.name topics")
