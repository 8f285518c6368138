"""Files, pipes and what is in them: bytes to records, records to documents, rejected records back to a file."""
