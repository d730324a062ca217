"""The loops around the micro-kernels, in blocks for caches and threads, which Numba compiles. It imports Numba."""
