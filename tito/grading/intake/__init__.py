"""Submissions as people get them, read and never run."""
