"""The course: where things are, its modules, their notebooks, and what is exported from them."""
