"""Load a lot of nested data into PostgreSQL: typed, without an ORM, by COPY, as safely as a plain transaction.

Describe the tables (`record`, `Id`, `Table`, `Entity`, `Keep`, `Update`, `Replace`, `Lookup`, `Plan`), write a function
that adds a document's rows to a `Sink`, and give both to a load: `start` for a loop of your own, `run` with a `Job` for
files. `MemoryLoad` stands in for the database in the tests of a mapping. `copy_rows` is the floor: rows into one table.

It is synchronous: a load keeps one connection and one core busy, or several cores with `jobs` of `run`. From async
code, call it in a thread (`await asyncio.to_thread(...)`) with a connection of its own.
"""

from bulkload.atomic import start
from bulkload.catalog import existing_tables
from bulkload.census import check
from bulkload.choice import Drop, Drops
from bulkload.chunks import Progress
from bulkload.columns import Column, ColumnType, of_ddl
from bulkload.csv_records import CsvRecords
from bulkload.errors import (
    BulkloadError,
    ConnectError,
    FitError,
    RecordError,
    RejectsError,
    RestoreError,
    ResumeError,
    SchemaError,
    ServerError,
    SourceError,
    UnknownOutcomeError,
    UsageError,
    shown,
)
from bulkload.formats import Format, Slice, WithRejects
from bulkload.job import Input, Job, Skip
from bulkload.json_records import JsonRecords
from bulkload.load import Load
from bulkload.memory import MemoryLoad
from bulkload.mode import Mode
from bulkload.plan import Plan
from bulkload.records import Id, record
from bulkload.recovery import Recovery, recover
from bulkload.rejects import Rejects
from bulkload.report import Report, SourceReport, TableReport
from bulkload.runner import run
from bulkload.server import Connection, connect, refused
from bulkload.sink import Sink
from bulkload.source import Reader, Source
from bulkload.statements import Block, Statements
from bulkload.statements import load as load_statements
from bulkload.stream import copy_rows
from bulkload.tables import Entity, Keep, Lookup, Replace, Table, Update
from bulkload.ultra import Levers

__all__ = [
    "Block",
    "BulkloadError",
    "Column",
    "ColumnType",
    "ConnectError",
    "Connection",
    "CsvRecords",
    "Drop",
    "Drops",
    "Entity",
    "FitError",
    "Format",
    "Id",
    "Input",
    "Job",
    "JsonRecords",
    "Keep",
    "Levers",
    "Load",
    "Lookup",
    "MemoryLoad",
    "Mode",
    "Plan",
    "Progress",
    "Reader",
    "RecordError",
    "Recovery",
    "Rejects",
    "RejectsError",
    "Replace",
    "Report",
    "RestoreError",
    "ResumeError",
    "SchemaError",
    "ServerError",
    "Sink",
    "Skip",
    "Slice",
    "Source",
    "SourceError",
    "SourceReport",
    "Statements",
    "Table",
    "TableReport",
    "UnknownOutcomeError",
    "Update",
    "UsageError",
    "WithRejects",
    "check",
    "connect",
    "copy_rows",
    "existing_tables",
    "load_statements",
    "of_ddl",
    "record",
    "recover",
    "refused",
    "run",
    "shown",
    "start",
]
