"""The student's loop: start, watch, hints, progress, submit."""
