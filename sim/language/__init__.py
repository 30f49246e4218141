"""Scenario files: from YAML to checked values, with errors at file, line and column."""
