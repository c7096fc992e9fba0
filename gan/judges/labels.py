"""The judge of a classifier is that of the images: a classifier fitted to the labels themselves."""

from __future__ import annotations

from gan.judges.images import load, make

__all__ = ["load", "make"]
