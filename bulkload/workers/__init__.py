"""Chunks that are mapped in other processes: what goes there, what comes back, and how it is settled and written."""
