"""The command line of TinyTorch: export a notebook, test it, see it work."""
