"""A submission's cells -> its grade: tests here, the student's code in a sandbox, one channel between them."""
