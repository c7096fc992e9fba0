"""Derivatives of what runs on Triton, of any order."""
