"""What is given out: the student's edition, and the forms that other graders take."""
