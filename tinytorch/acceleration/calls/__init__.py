"""One compiled call of a layer or an operation, around the loops: what Python enters. It imports Numba."""
