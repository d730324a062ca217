"""The course in this folder has tests of its own, which are for its students."""

collect_ignore = ["course"]
