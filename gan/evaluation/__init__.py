"""Samples against data, one module a kind."""
