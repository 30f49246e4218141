"""A run: its processes on this machine or on many, the cluster under test, and the report in the end."""
