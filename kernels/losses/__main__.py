"""The reference card: every loss with its formulas and source.

python -m kernels.losses [--markdown]
"""

import argparse

from ..dispatch import PACKAGE, named_here
from .card import markdown, plain


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(
        prog=f"python -m {PACKAGE}.losses", description=named_here(__doc__ or "")
    )
    parser.add_argument("--markdown", action="store_true", help="as docs/losses.md has it")
    print(markdown() if parser.parse_args().markdown else plain())


if __name__ == "__main__":
    main()
