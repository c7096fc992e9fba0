"""`python -m gan.state list | restart | prune`: the face of `gan.training.states`."""

from __future__ import annotations

import sys

from gan.training.states import main

if __name__ == "__main__":
    sys.exit(main())
