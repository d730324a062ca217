"""An exercise's tests, run in a process of their own, and what they say."""
