"""Forms of files: what is parsed here is what Werkzeug parses."""

from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.formparser import MultiPartParser

from service.forms import plain_files

MOST = 5
HEAD = b'\r\nContent-Disposition: form-data; name="image"; filename="7.png"\r\nContent-Type: image/png\r\n\r\n'


def parsed_by_werkzeug(form: bytes, boundary: bytes) -> dict[str, list[bytes]]:
    parser = MultiPartParser(stream_factory=lambda *_, **__: BytesIO(), max_form_parts=MOST)
    fields, files = parser.parse(BytesIO(form), boundary, len(form))
    assert not fields
    return {name: [one.stream.read() for one in some] for name, some in files.lists()}


@pytest.mark.parametrize("end", [b"--\r\n", b"--"])
@pytest.mark.parametrize("files", [[b""], [b"abc"], [b"\r\n", b"--", b"-- \r\n\r\n"], [b"\r\n\r\nx"] * MOST])
def test_files(files: list[bytes], end: bytes) -> None:
    form = b"".join(b"--b" + HEAD + file + b"\r\n" for file in files) + b"--b" + end
    assert plain_files(form, "b", MOST) == {"image": files}


@pytest.mark.parametrize(
    "form",
    [
        b"",
        b"--b",
        b"--b--",
        b"--b--\r\n--b--",
        b"--b" + HEAD + b"x\r\n",
        b"--b" + HEAD + b"x\r\n--b-",
        b"--b" + HEAD + b"x\r\n--b--\r\nmore",
        b"before\r\n--b" + HEAD + b"x\r\n--b--",
        b"--b" + HEAD + b"x\n--b\r\n\r\n--b--",
        b"--b" + HEAD + b"x\r\n--boundary of another form\r\n--b--",
        b"--b " + HEAD + b"x\r\n--b--",
        (b"--b" + HEAD + b"x\r\n--b--").replace(b"\r\n", b"\n"),
        b'--b\r\nContent-Disposition: form-data; name="image"\r\n\r\ntext\r\n--b--',
        b'--b\r\nContent-Disposition: form-data; name="\xc3\xa9"; filename="7.png"\r\n\r\nx\r\n--b--',
        b'--b\r\nContent-Disposition: form-data; name="i%22"; filename="7.png"\r\n\r\nx\r\n--b--',
        b'--b\r\nContent-Disposition: form-data; name="image"; filename="\\"; name="other"\r\n\r\nx\r\n--b--',
        b"--b\r\nContent-Disposition: form-data; name=\"image\"; filename*=UTF-8''7.png\r\n\r\nx\r\n--b--",
        b"--b\r\nContent-Transfer-Encoding: base64" + HEAD + b"x\r\n--b--",
        b"--b" + HEAD[:-2] + b"Content-Length: 1\r\n\r\nx\r\n--b--",
        (b"--b" + HEAD + b"x\r\n") * (MOST + 1) + b"--b--",
    ],
)
def test_other_forms_are_left_to_werkzeug(form: bytes) -> None:
    assert plain_files(form, "b", MOST) is None


PIECES = [
    b"--b",
    b"--",
    b"b",
    b"\r\n",
    b"\n",
    b"\r",
    b" ",
    b"\r\n\r\n",
    b"\r\n--b",
    b"\r\n--b--",
    b"\r\n--b\r\n",
    b"x",
    HEAD,
]


@given(st.lists(st.sampled_from(PIECES), max_size=20), st.booleans())
def test_any_form_gives_the_same_files_as_with_werkzeug(pieces: list[bytes], whole: bool) -> None:
    form = b"".join(pieces)
    if whole:
        form = b"--b" + HEAD + form + b"\r\n--b--\r\n"
    files = plain_files(form, "b", MOST)
    if files is not None:
        assert files == parsed_by_werkzeug(form, b"b")
