"""`python -m convert --help`: which converters there are."""

from __future__ import annotations

import argparse

import convert

if __name__ == '__main__':
    parser = argparse.ArgumentParser(
        prog='python -m convert', description=convert.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.parse_args()
    parser.print_help()
