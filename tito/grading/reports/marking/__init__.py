"""Answers in words: a page for each question, on which nobody has a name; graders' scores; what they come to."""
