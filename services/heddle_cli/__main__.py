"""The entry point of the command line. It imports little, because it runs before anything is shown."""

from heddle_cli.root import build


def main() -> None:
    """Run `heddle` with the arguments of this process, and exit with its code."""
    build()(prog_name="heddle")


if __name__ == "__main__":
    main()
