"""What `benchmarks.fuzz` is made of: mutators of formats, readers, and processes with limits."""
