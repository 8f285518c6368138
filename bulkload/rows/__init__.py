"""Rows on their way into tables: ids, buffers, COPY, conflicts, what belongs to what; and the load around them."""
