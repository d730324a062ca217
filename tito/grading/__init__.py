"""Grading what strangers wrote: the judge never loads a student's code, the student's process never holds an answer."""
