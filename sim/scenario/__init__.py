"""A scenario as checked values, and what they mean: who, what, when, and what must hold."""
