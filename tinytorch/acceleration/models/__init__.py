"""Accelerated networks: what stands for the layers of a model, and what passes between them."""
