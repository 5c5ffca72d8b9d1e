"""The fuzzing campaign, and mutations of its seeds in the fast tests."""

import json
import subprocess
import sys
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from digits.decode import ImageError, decode
from tests.fuzz import corpus
from tests.fuzz.targets import decoder, parser
from tests.helpers.images import pixels_of
from tests.helpers.paths import ROOT

# Inputs per target, with fixed seeds; a failure prints an input to replay.
CAMPAIGN = {"decoder": 40_000, "parser": 50_000, "http": 12_000}
# MB that a process may grow over the last four fifths of its inputs: corpus and heap fragmentation.
GROWTH = 64

FILES = corpus.images()
TENSORS = corpus.tensors()


@pytest.mark.fuzz
@pytest.mark.parametrize("target", CAMPAIGN)
def test_campaign(target: str) -> None:
    pytest.importorskip("atheris", reason="Atheris does not exist for this system")
    command = [sys.executable, "-m", "tests.fuzz", target, "--runs", str(CAMPAIGN[target]), "--seed", "1"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, errors="replace", check=False)
    output = result.stdout + result.stderr
    assert result.returncode == 0, f"{' '.join(command[1:])}:\n{output[-4000:]}"
    [line] = [line for line in output.splitlines() if line.startswith('{"runs"')]
    found = json.loads(line)
    assert found["runs"] == CAMPAIGN[target]
    assert found["end"] - found["early"] < GROWTH, found


@pytest.mark.parametrize("name", FILES)
def test_seeds_are_images(name: str) -> None:
    assert pixels_of(FILES[name]).shape in ((24, 20), (20, 24), (192, 160))


@st.composite
def mutated(draw: st.DrawFn, seeds: dict[str, bytes]) -> bytes:
    """A seed with bytes changed, removed, repeated or taken from another seed."""
    content = bytearray(seeds[draw(st.sampled_from(sorted(seeds)))])
    for _ in range(draw(st.integers(1, 6))):
        start, length = draw(st.integers(0, len(content))), draw(st.integers(1, 16))
        match draw(st.sampled_from(["change", "cut", "twice", "other", "number"])):
            case "change":
                content[start : start + length] = draw(st.binary(max_size=16))
            case "cut":
                del content[start : start + draw(st.integers(1, 200))]
            case "twice":
                content[start:start] = content[start : start + length]
            case "other":
                other = seeds[draw(st.sampled_from(sorted(seeds)))]
                content[start:] = other[min(start, len(other)) :]
            case "number":
                number = draw(st.sampled_from([0, 1, 2**15, 2**31 - 1, 2**32 - 1]))
                content[start : start + 4] = number.to_bytes(4, draw(st.sampled_from(["big", "little"])))
    return bytes(content)


@settings(max_examples=200)
@given(mutated(FILES))
def test_mutated_files(data: bytes) -> None:
    decoder(data)


@settings(max_examples=100)
@given(st.sampled_from([b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"RIFF", b"BM", b"GIF89a", b"II*\0", b""]), st.binary())
def test_random_bytes(head: bytes, rest: bytes) -> None:
    decoder(head + rest)


@settings(max_examples=200)
@given(mutated(TENSORS))
def test_mutated_requests(data: bytes) -> None:
    parser(data)


@settings(max_examples=50)
@given(mutated(FILES))
def test_image_errors_hide_the_decoder(data: bytes) -> None:
    start = time.process_time()
    try:
        decode(data)
    except ImageError as error:
        assert str(error).startswith("expected ")
        assert "; got " in str(error)
        assert "PIL" not in str(error)
    assert time.process_time() - start < 2
