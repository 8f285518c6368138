"""How rows reach the server."""

from __future__ import annotations

import enum


class Mode(enum.Enum):
    """How rows reach the server, and what is one transaction."""

    STANDARD = "standard"
    """INSERT, and a transaction a batch: what an earlier batch brought stays when a later one fails."""
    OPTIMIZED = "optimized"
    """COPY, and one transaction for the whole load: all of it or nothing. Tables with a conflict rule admit no other
    writer until it ends; readers see the old rows."""
    ULTRA = "ultra"
    """COPY on many connections, a transaction a chunk, into tables that were emptied: what was written stays when the
    load fails, and indexes are away until it ends, their definitions in the ledger. For `run` alone."""
