"""The entry point of the command line. It imports little, because it runs before anything is shown."""

import sys

from heddle_cli.help_page import help_page
from heddle_core.cycles import look_rarely


def main() -> None:
    """Run `heddle` with the arguments of this process, and exit with its code."""
    look_rarely()
    if page := help_page(sys.argv[1:]):
        sys.stdout.write(page)
        return
    from heddle_cli.root import build

    build()(prog_name="heddle")


if __name__ == "__main__":
    main()
