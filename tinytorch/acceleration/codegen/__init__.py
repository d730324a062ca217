"""LLVM IR as text: the micro-kernels, and the loops over matrices that come before and after them."""
