"""What people call: everything is checked here, then handed down to `loops`, or to NumPy where nothing compiles."""
