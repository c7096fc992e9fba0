"""`python -m gan.state list | restart | prune`: the face of `gan.training.states`."""

from __future__ import annotations

import sys

from gan.command import begin

if __name__ == "__main__":
    begin()
    from gan.training.states import main

    sys.exit(main())
