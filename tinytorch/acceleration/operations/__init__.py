"""What people call: everything is checked here, then handed down to `calls`, or to NumPy where nothing compiles."""
