"""The package of the course whose notebooks are changed in every way that the fuzz knows."""
