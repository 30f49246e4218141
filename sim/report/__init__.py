"""Reports of a run: terminal, JSON and other formats."""
