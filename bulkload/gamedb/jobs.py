"""The jobs: which file of the items database is read how, and becomes which rows."""

from __future__ import annotations

from bulkload import CsvRecords, Job, JsonRecords
from bulkload.gamedb import documents
from bulkload.gamedb.mapping import add_item, add_nano
from bulkload.gamedb.perks import PerkRecords, add_perk
from bulkload.gamedb.symbiants import add_symbiant, read_symbiant
from bulkload.gamedb.tables import ITEM_PLAN, ITEMS, PERK_PLAN, SYMBIANT_PLAN

# What a record becomes is the same as long as this is: see Job.version.
_VERSION = "1"

ITEMS_JOB = Job("items", ITEM_PLAN, JsonRecords(documents.Item, key="AOID"), add_item, identity=ITEMS, version=_VERSION)
NANOS_JOB = Job("nanos", ITEM_PLAN, JsonRecords(documents.Item, key="AOID"), add_nano, identity=ITEMS, version=_VERSION)
PERKS_JOB = Job("perks", PERK_PLAN, PerkRecords(), add_perk, version=_VERSION)
SYMBIANTS_JOB = Job("symbiants", SYMBIANT_PLAN, CsvRecords(read_symbiant), add_symbiant, version=_VERSION)
