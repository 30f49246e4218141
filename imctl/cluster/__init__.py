"""A local cluster: its processes, ports and state file."""
