"""Load a lot of nested data into PostgreSQL: typed, without an ORM, by COPY, as safely as a plain transaction.

Describe the tables (`record`, `Id`, `Table`, `Entity`, `Keep`, `Update`, `Replace`, `Lookup`, `Plan`), write a function
that adds a document's rows to a `Sink`, and give both to a load: `start` for a loop of your own, `run` with a `Job` for
files. `MemoryLoad` stands in for the database in the tests of a mapping. `copy_rows` is the floor: rows into one table.

It is synchronous: a load keeps one connection and one core busy, or several cores with `jobs` of `run`. From async
code, call it in a thread (`await asyncio.to_thread(...)`) with a connection of its own.
"""

from bulkload.encoding.columns import Column, ColumnType, of_ddl
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
from bulkload.mapping.census import check
from bulkload.mapping.chunks import Progress
from bulkload.mapping.job import Input, Job, Skip
from bulkload.model.mode import Mode
from bulkload.model.plan import Plan
from bulkload.model.records import Id, record
from bulkload.model.report import Report, SourceReport, TableReport
from bulkload.model.tables import Entity, Keep, Lookup, Replace, Table, Update
from bulkload.rebuild.choice import Drop, Drops
from bulkload.rebuild.recovery import Recovery, recover
from bulkload.rows.atomic import start
from bulkload.rows.load import Load
from bulkload.rows.memory import MemoryLoad
from bulkload.rows.sink import Sink
from bulkload.rows.stream import copy_rows
from bulkload.rows.ultra import Levers
from bulkload.runs.runner import run
from bulkload.server.catalog import existing_tables
from bulkload.server.connection import Connection, connect, refused
from bulkload.sources.csv_records import CsvRecords
from bulkload.sources.formats import Format, Slice, WithRejects
from bulkload.sources.json_records import JsonRecords
from bulkload.sources.rejects import Rejects
from bulkload.sources.source import Reader, Source
from bulkload.statements import Block, Statements
from bulkload.statements import load as load_statements

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
