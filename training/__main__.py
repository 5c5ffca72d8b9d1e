"""`python -m training`: the subcommands of `digits` that make models."""

from training.commands import main

if __name__ == "__main__":
    main(prog_name="digits")
