"""What the fused kernels compute, in plain PyTorch: what they are held to."""
