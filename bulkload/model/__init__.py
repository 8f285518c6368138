"""What a load is made of, as values: records, tables, a plan of them, a mode, a report. No server is spoken to."""
