"""Messages that are kept: for users who are away, until they are acknowledged, and as a history to read."""
