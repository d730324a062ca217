"""A package of the toy course: nothing in tito knows its name."""
