import base64
from collections.abc import Callable
from random import Random
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from digits.base64_text import decode_base64

DATA = st.binary(min_size=300, max_size=400)


@given(DATA, st.sampled_from([base64.b64encode, base64.urlsafe_b64encode, base64.encodebytes]), st.booleans())
def test_alphabets_line_breaks_and_padding(data: bytes, encode: Callable[[bytes], bytes], padded: bool) -> None:
    text = encode(data).decode()
    assert decode_base64(text if padded else text.rstrip("=\n")) == data


@pytest.mark.parametrize("padded", [True, False])
def test_blanks_for_plus(padded: bool) -> None:
    random = Random(0)
    for _ in range(500):
        data = b"\x89PNG" + random.randbytes(random.randint(300, 400)) + b"\0"
        text = base64.b64encode(data).decode().replace("+", " ")
        assert decode_base64(text if padded else text.rstrip("=")) == data


@given(DATA, st.sampled_from([60, 64, 76]), st.booleans())
def test_blanks_between_lines(data: bytes, length: int, padded: bool) -> None:
    text = base64.b64encode(data).decode().rstrip("" if padded else "=")
    assert decode_base64(" ".join(text[start : start + length] for start in range(0, len(text), length))) == data


@given(DATA, st.booleans())
def test_escapes(data: bytes, upper: bool) -> None:
    text = quote(f"data:;base64,{base64.b64encode(data).decode()}", safe="")
    assert (
        decode_base64(text if upper else text.replace("%2B", "%2b").replace("%2F", "%2f").replace("%3D", "%3d")) == data
    )


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("AAAAA", "it has 5 characters besides `=`, so that some are missing"),
        ("AAA A AA A AA", "perhaps for `+`, which a form must send as %2B"),
        ("AAA#", "it contains '#'"),
        ("A=AA", "it contains '='"),
        ("b'AAAA'", "send them with `.decode()`"),
        ("HTTPS://example.org/3.png", "it is a URL"),
        ("data:image/png;base64,AAAAA", "it has 5 characters"),
        ("blob:https://example.org/1", "only the browser can read"),
        ("[object HTMLCanvasElement]", "the name of a JavaScript object"),
    ],
)
def test_the_likely_reason_is_named(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match="expected base64; got text that is not base64: ") as caught:
        decode_base64(text)
    assert reason in str(caught.value)
