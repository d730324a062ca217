"""A submission's cells -> its grade: tests here, the student's code in a box, one channel between them."""
