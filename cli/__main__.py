"""`digits`, and `python -m cli` in a checkout."""

import sys


def main() -> None:
    # The container's health check runs every few seconds in the service's memory: no click for it.
    if sys.argv[1:] == ["health"]:
        from cli.health import check_health

        check_health()
    else:
        from cli.commands import digits

        digits(prog_name="digits")


if __name__ == "__main__":
    main()
