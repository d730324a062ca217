"""The sandbox in which a student's code runs, and both ends of the line to it."""
