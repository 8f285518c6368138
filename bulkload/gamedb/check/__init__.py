"""Checks an import of the items database: the files and the database are read anew, and what they say is compared.

    content = expected(Path("items.json"), Path("nanos.json"), Path("perks.json"), Path("symbiants.csv"))
    for line in differences(content, actual(connection)):
        print(line)

The files are read with the standard library and rules written for this alone, so that no mistake of the loader can
hide here. Ids are not compared, since any import is free to choose them; what they tie together is.
"""

from bulkload.gamedb.check.compare import differences
from bulkload.gamedb.check.content import Content
from bulkload.gamedb.check.database import actual
from bulkload.gamedb.check.source import expected

__all__ = ["Content", "actual", "differences", "expected"]
