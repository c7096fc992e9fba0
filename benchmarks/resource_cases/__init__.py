"""The kernels as they would be launched: one module a package of kernels, each with `cases()`."""
