"""The Triton kernels as functions of tensors: tiles, grids and memory of each launch."""
