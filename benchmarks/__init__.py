"""Scripts that measure: each prints a table and writes a CSV under `benchmarks/results/<device>/`.

Run them from the root of the checkout: `python -m benchmarks.prepare_images`.
"""
