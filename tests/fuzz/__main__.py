"""`python -m tests.fuzz TARGET`: runs Atheris, a coverage-guided fuzzer, on the decoder, V2 parser or application.

Exits with 0 if no input fails; otherwise it prints the input in base64, which `--replay` runs again.
Coverage is measured in Python code, the service's and Pillow's, not in the decoders written in C.
"""

import argparse
import base64
import json
import sys
import tempfile
from pathlib import Path

import atheris

# Instrumented, the finder keeps memory with every image; it takes pixels, so there is little to fuzz.
with atheris.instrument_imports(include=["digits", "service", "PIL"], exclude=["digits.finder"]):
    from tests.fuzz.targets import TARGETS
    from tests.helpers.images import with_valid_checksums
    from tests.helpers.processes import resident_megabytes

# Longer inputs cost time and find nothing more; size limits have their own tests.
LONGEST = 4096
# The time limit per input.
LIMIT_SECONDS = 10
WORDS = (
    *("inputs", "outputs", "name", "shape", "datatype", "data", "parameters", "binary_data_size", "classification"),
    *("binary_data", "UINT8", "BYTES", "FP32", "images", "image", "-1", "1e999", "NaN", "null", "true", "[[[", "]]]"),
    *("IHDR", "PLTE", "tRNS", "IDAT", "eXIf", "iCCP", "acTL", "fcTL", "IEND", "VP8X", "VP8L", "ANMF", "Exif"),
)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("--runs", type=int, default=40_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--replay", help="an input in base64")
    arguments = parser.parse_args()
    target = TARGETS[arguments.target]
    call = target.make()
    if arguments.replay is not None:
        call(base64.b64decode(arguments.replay))
        return
    count, early = 0, 0.0

    def run(data: bytes) -> None:
        nonlocal count, early
        call(data)
        count += 1
        if count == arguments.runs // 5:
            early = resident_megabytes()
        if count == arguments.runs:
            result = {"runs": count, "early": round(early), "end": round(resident_megabytes())}
            print(json.dumps(result), flush=True)

    with tempfile.TemporaryDirectory() as folder:
        seeds = Path(folder) / "seeds"
        seeds.mkdir()
        for name, data in target.seeds().items():
            (seeds / name).write_bytes(data)
        words = Path(folder) / "words"
        words.write_text("".join(f'"{word}"\n' for word in WORDS))
        options = {
            "runs": arguments.runs,
            "seed": arguments.seed,
            "timeout": LIMIT_SECONDS,
            "max_len": LONGEST,
            "rss_limit_mb": 0,  # its peak would include that of the process that started this one
            "dict": words,
            "artifact_prefix": f"{folder}/",
            "print_final_stats": 1,
            "verbosity": 1,
        }
        atheris.Setup(
            [sys.argv[0], *(f"-{name}={value}" for name, value in options.items()), str(seeds)],
            run,
            custom_mutator=_mutated,
        )
        atheris.Fuzz()


def _mutated(data: bytes, longest: int, seed: int) -> bytes:
    """libFuzzer's mutation; most PNGs get correct checksums, without which decoding stops at the first chunk."""
    data = atheris.Mutate(data, longest)
    start = data.find(b"\x89PNG\r\n\x1a\n", 0, 16)
    if start < 0 or seed % 4 == 0:
        return data
    return data[:start] + with_valid_checksums(data[start:])


if __name__ == "__main__":
    main()
