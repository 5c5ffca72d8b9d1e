"""The settings of the service: the model's, and its own."""

import ipaddress
import re
import socket
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from msgspec import Meta

from digits.settings import ModelSettings, setting

MAXIMUM_WORKERS = 1024
LONGEST_HOST = 253
_HOST_NAME = re.compile(r"[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*\.?")
# The origin of one page, scheme, host and port, as browsers send it.
_ORIGIN = r"https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?"


class Host(str):
    """An address or a name to listen on; names are not looked up. Raises ValueError for anything else."""

    def __new__(cls, text: str) -> "Host":
        text = re.sub(r"^\[(.*:.*)\]$", r"\1", text)  # as an IPv6 address is written in a URL
        if len(text) > LONGEST_HOST:
            raise ValueError
        if ":" in text:
            ipaddress.IPv6Address(text)
        elif re.fullmatch(r"[0-9.]+", text):
            try:
                socket.inet_aton(text)  # which accepts the short forms too, such as 127.1
            except OSError as error:
                raise ValueError from error
        elif not _HOST_NAME.fullmatch(text):
            raise ValueError
        return super().__new__(cls, text)


@dataclass(frozen=True)
class Settings(ModelSettings):
    """One field per setting, with its environment variable, default and help."""

    complete: ClassVar[bool] = True

    host: Annotated[Host, Meta(description="an IP address or a host name")] = setting(
        "HOST", "127.0.0.1", "address to listen on; the container sets `0.0.0.0`"
    )
    port: Annotated[int, Meta(ge=0, le=65535)] = setting("PORT", 8000, "port to listen on")
    workers: Annotated[int, Meta(ge=0, le=MAXIMUM_WORKERS)] = setting(
        "DIGITS_WORKERS",
        0,
        "worker processes; 0: one per core of the CPU quota, or a single one with `DIGITS_PROVIDER=cuda`",
    )
    log: Literal["text", "json"] = setting(
        "DIGITS_LOG", "text", "format of the log: `text` or `json`; the container sets `json`"
    )
    concurrency: Annotated[int, Meta(ge=1, le=256)] = setting(
        "DIGITS_CONCURRENCY", 2, "requests with images that a worker processes concurrently"
    )
    queue: Annotated[int, Meta(ge=0, le=512)] = setting(
        "DIGITS_QUEUE", 32, "requests with images that wait in a worker; further ones get 503"
    )
    # One body of the largest size must fit, with a piece of it as received.
    body_megabytes: Annotated[int, Meta(ge=33, le=65536)] = setting(
        "DIGITS_BODY_MEGABYTES",
        40,
        "MiB of request bodies, decompressed, that a worker holds in memory; further requests get 503",
    )
    deadline: Annotated[int, Meta(ge=1, le=3600)] = setting(
        "DIGITS_DEADLINE", 30, "seconds within which a request must be received and answered"
    )
    cors_origins: Annotated[
        Annotated[str, Meta(pattern=rf"^(\*|{_ORIGIN}(,{_ORIGIN})*)$")] | None,
        Meta(description="* or origins such as https://example.org, separated by commas"),
    ] = setting(
        "DIGITS_CORS_ORIGINS",
        None,
        "origins of other pages that may call, `https://example.org,https://example.com`, or `*`; none unless set",
    )
    trusted_proxies: Annotated[int, Meta(ge=0, le=16)] = setting(
        "DIGITS_TRUSTED_PROXIES", 0, "number of proxies in front whose `X-Forwarded-*` headers are trusted"
    )
