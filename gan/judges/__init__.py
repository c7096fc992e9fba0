"""Judges, one module a kind of data."""
