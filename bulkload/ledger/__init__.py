"""What is kept in the target database of loads that are not done: what they took away, and which chunks are in."""
