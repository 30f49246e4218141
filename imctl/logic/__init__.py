"""logic: the push API, the sessions, and room counts."""
