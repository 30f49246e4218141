"""Simulated clients by the thousand: who they are, how they connect, what they do and receive."""
