"""The reference card: every loss with its formulas and source.

python -m kernels.losses [--markdown]
"""

import argparse

from .card import markdown, plain


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="python -m kernels.losses", description=__doc__)
    parser.add_argument("--markdown", action="store_true", help="as docs/losses.md has it")
    print(markdown() if parser.parse_args().markdown else plain())


if __name__ == "__main__":
    main()
