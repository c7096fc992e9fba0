"""The losses as Triton kernels: `definitions.py` on the GPU, one launch each way.

fp32 arithmetic whatever the logits' dtype. No atomics: the sums of a program, and of the programs,
are taken in a fixed order, so that a result repeats bit for bit.

Which loss it is enters as the codes of its curves, compile-time constants, and the numbers of its
terms, run-time arguments: losses of the same curves share machine code.
"""
