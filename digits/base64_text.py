"""Image files as text: base64 and data URLs, in the variants that clients send."""

import binascii
import re

NOT_BASE64 = "expected base64; got text that is not base64"
_ESCAPED_BEYOND_ASCII = re.compile(rb"\\u(?!00[0-7])")
_URL_SAFE, _LINE_BREAKS = bytes.maketrans(b"-_", b"+/"), b"\t\n\r\v\f"
_ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
# What forms and URLs escape in base64 and data URLs.
_ESCAPES = {b"%" + b"%02X" % one: bytes([one]) for one in b"+/=:;, \r\n"}
# Texts that are sent instead of base64, by how they begin.
_MISTAKES = {
    b"b'": "it is Python's notation for bytes: send them with `.decode()`, without b''",
    b"http": "it is a URL: send the image itself",
    b"blob:": "it is a URL that only the browser can read: send the image itself",
    b"[object": "it is the name of a JavaScript object: send the image itself",
}


def require_ascii(data: bytes) -> None:
    """Raises ValueError if strings in JSON, which should be base64, have characters other than ASCII.

    A single one would make Python take up to four bytes for every character of the string.
    """
    if not data.isascii() or _ESCAPED_BEYOND_ASCII.search(data):
        raise ValueError(NOT_BASE64)


def decode_base64(text: str | bytes) -> bytes:
    """The bytes of base64 or of a data URL in base64. Raises ValueError, whose message says what was expected.

    Accepts line breaks, the URL-safe alphabet, missing padding, percent escapes, and blanks in place of `+`, which is
    what a form makes of a `+` that is not escaped.
    """
    data = (text.encode("ascii", "replace") if isinstance(text, str) else text).lstrip()
    if b"%" in data:
        for escape, character in _ESCAPES.items():
            data = data.replace(escape, character).replace(escape.lower(), character)
    if data[:5].lower() == b"data:":
        head, comma, data = data.partition(b",")
        if not comma or not head.rstrip().lower().endswith(b";base64"):
            cut = "" if comma else ": its data is missing, as curl's -F cuts text at `;` and --form-string does not"
            raise ValueError(f"expected base64 or a data URL in base64; got a data URL that is not base64{cut}")
    start, has_blanks = data[:20].lower(), b" " in data.strip()
    data = _without_blanks(data.translate(_URL_SAFE, _LINE_BREAKS).lstrip(b" "))
    rest = data.rstrip(b"=")
    if len(data) - len(rest) > 2 or len(rest) % 4 == 1 or rest.translate(None, _ALPHABET):
        raise ValueError(f"{NOT_BASE64}: {_reason(start, rest, has_blanks)}")
    del data
    return binascii.a2b_base64(rest + b"=" * (-len(rest) % 4))


def _without_blanks(data: bytes) -> bytes:
    """The text with its blanks removed, if they separate lines, or replaced by the `+` that they were."""
    count = data.count(b" ")
    if not count:
        return data
    # Lines of equal length have a blank in every so many characters, and nowhere else.
    at_line_ends = data[data.index(b" ") :: data.index(b" ") + 1]
    lines = len(at_line_ends) == count > 1 and not at_line_ends.strip(b" ")
    if lines or not _is_plausible(replaced := data.replace(b" ", b"+")):
        return data.replace(b" ", b"")
    return replaced


def _is_plausible(data: bytes) -> bool:
    """Whether the length is one of base64, with or without its padding."""
    padding = len(data) - len(data.rstrip(b"="))
    return len(data) % 4 == 0 if padding else len(data) % 4 != 1


def _reason(start: bytes, rest: bytes, has_blanks: bool) -> str:
    """Why a text, by its start in lower case and what is left of it, is likely not base64."""
    if mistake := next((reason for sign, reason in _MISTAKES.items() if start.startswith(sign)), None):
        return mistake
    if other := rest.translate(None, _ALPHABET):
        return f"it contains {chr(other[0])!r}"
    if has_blanks:
        return "characters are missing, and there are blanks, perhaps for `+`, which a form must send as %2B"
    return f"it has {len(rest)} characters besides `=`, so that some are missing: perhaps it was cut short"
