"""What Numba compiles: the loops around the micro-kernels, in blocks for caches and threads. It imports Numba."""
