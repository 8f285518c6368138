"""Jobs over sources: which version of a record counts, chunks, and whose fault it is that one cannot go in."""
