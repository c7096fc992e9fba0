"""How samples are judged: one file a metric, pure functions over what it measures.

Images are measured by features or probabilities, points by themselves, texts by their symbols.

Features are torch tensors `[N, d]` of any floating dtype, on the CPU or a CUDA device, one row an
image; sums, distances and eigenvalues are computed in float64 on that device. Import a metric from
its own module.
"""
