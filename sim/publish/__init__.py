"""What is published: when, to whom, with what in it, and how it is known again."""
