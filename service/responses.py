"""What is answered: JSON of built-in types, dataclasses and msgspec's structs, and the one shape of every error."""

import msgspec
from flask import Response

LONGEST_MESSAGE = 500


class Error(msgspec.Struct):
    """What was expected, and what came instead."""

    error: str


def reply(value: object, status: int = 200) -> Response:
    """`value` in JSON."""
    return Response(msgspec.json.encode(value) + b"\n", status, content_type="application/json")


def error_response(message: str, status: int) -> Response:
    """`{"error": message}`, cut where what came was long."""
    return reply(Error(message if len(message) <= LONGEST_MESSAGE else f"{message[:LONGEST_MESSAGE]}…"), status)
