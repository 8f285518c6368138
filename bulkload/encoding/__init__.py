"""Values to bytes, in PostgreSQL's binary formats, with all that does not fit found and told before it is sent."""
