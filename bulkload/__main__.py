"""`python -m bulkload`: the command line of `bulkload.cli`."""

import sys

from bulkload.cli import main

if __name__ == "__main__":
    sys.exit(main())
