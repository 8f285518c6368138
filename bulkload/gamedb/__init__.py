"""The items database of a game: the first domain, and the example for others. Built on the public API alone."""

from bulkload.gamedb.check import Content, actual, differences, expected
from bulkload.gamedb.generator import Files, Sizes, generate
from bulkload.gamedb.jobs import ITEMS_JOB, NANOS_JOB, PERKS_JOB, SYMBIANTS_JOB
from bulkload.gamedb.schema import columns, create_schema, make_ready, refresh_views

__all__ = [
    "ITEMS_JOB",
    "NANOS_JOB",
    "PERKS_JOB",
    "SYMBIANTS_JOB",
    "Content",
    "Files",
    "Sizes",
    "actual",
    "columns",
    "create_schema",
    "differences",
    "expected",
    "generate",
    "make_ready",
    "refresh_views",
]
