"""`python -m cgmgr` is `cgmgr`."""

from __future__ import annotations

import sys

from cgmgr.cli import main

if __name__ == "__main__":
    sys.exit(main())
