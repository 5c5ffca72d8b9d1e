"""`python -m scoring`: the same as `digits score`."""

from scoring.command import score

if __name__ == "__main__":
    score(prog_name="digits score")
