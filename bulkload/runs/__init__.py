"""A run from its first look to its outcome: what it would do, what it does, and how it is gone on with."""
