"""Pictures, one module a kind of data."""
