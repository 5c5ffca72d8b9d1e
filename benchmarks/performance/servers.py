"""The servers that are compared: how each is installed, started and called."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[2]
PEERS = ROOT / "benchmarks" / "performance" / "peers"
ENVIRONMENTS = ROOT / ".venv-bench"
HOST = "127.0.0.1"
READY_SECONDS = 60
BOUNDARY = "----digits"

# An image file → a request's content type and body.
Encode = Callable[[bytes], tuple[str, bytes]]


def raw(image: bytes) -> tuple[str, bytes]:
    """The file itself."""
    return "image/jpeg" if image.startswith(b"\xff\xd8") else "image/png", image


def form(*images: bytes) -> tuple[str, bytes]:
    """Files as the fields `image` of a form."""
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="image"; filename="image"\r\nContent-Type: '
    parts = [f"{head}{raw(image)[0]}\r\n\r\n".encode() + image + b"\r\n" for image in images]
    return f"multipart/form-data; boundary={BOUNDARY}", b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()


def v2_json(image: bytes) -> tuple[str, bytes]:
    """The file in base64, as a tensor in V2's JSON."""
    body = '{"inputs": [{"name": "image", "shape": [1], "datatype": "BYTES", "data": ["%s"]}]}'
    return "application/json", (body % b64encode(image).decode("ascii")).encode()


# Preprocessed images, uint8 [N, 28, 28] → a request's path, content type, body and headers.
Tensors = Callable[[NDArray[np.uint8]], tuple[str, str, bytes, Mapping[str, str]]]

V2_PATH = "/v2/models/digits/infer"


def v2_json_tensors(images: NDArray[np.uint8]) -> tuple[str, str, bytes, Mapping[str, str]]:
    """The images as numbers in V2's JSON."""
    tensor = {"name": "images", "shape": images.shape, "datatype": "UINT8", "data": images.ravel().tolist()}
    return V2_PATH, "application/json", json.dumps({"inputs": [tensor]}).encode(), {}


def v2_binary_tensors(images: NDArray[np.uint8]) -> tuple[str, str, bytes, Mapping[str, str]]:
    """The images as bytes after V2's JSON; requests the same format for the response."""
    size = {"binary_data_size": images.nbytes}
    tensor = {"name": "images", "shape": images.shape, "datatype": "UINT8", "parameters": size}
    head = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    headers = {"Inference-Header-Content-Length": str(len(head))}
    return V2_PATH, "application/octet-stream", head + images.tobytes(), headers


@dataclass(frozen=True)
class Server:
    """A server with two processes.

    `arguments` are Python's, with placeholders {port} and {bin}, the folder of its Python. The results list the
    versions of `packages`.
    """

    title: str
    arguments: str
    packages: tuple[str, ...]
    encode: Encode = raw
    path: str = "/predict"
    tensors: Tensors | None = None
    variables: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    environment: str | None = None
    directory: Path = ROOT


UVICORN = (
    "-m uvicorn benchmarks.performance.peers.fastapi.server:app --port {port} --workers 2 --loop uvloop"
    " --http httptools --no-access-log --log-level warning"
)
FASTAPI = ("fastapi", "uvicorn", "uvloop", "httptools", "orjson")
# The service with its default number of workers.
SERVICE = Server(
    "**digits**, with preprocessing, rejections, metrics and log",
    "-m gunicorn",
    ("flask", "gunicorn"),
    tensors=v2_binary_tensors,
    variables={"PORT": "{port}"},
)
OURS = replace(SERVICE, variables={"PORT": "{port}", "DIGITS_WORKERS": "2"})
SERVERS: dict[str, Server] = {
    "ours": OURS,
    "fastapi": Server(
        "FastAPI + uvicorn, tuned, the network in its event loop", UVICORN, FASTAPI, environment="fastapi"
    ),
    "fastapi-threads": Server(
        "the same, with the network in a thread", UVICORN, FASTAPI, variables={"THREADS": "1"}, environment="fastapi"
    ),
    "fastapi-digits": Server(
        "FastAPI in its event loop, with digits' network",
        UVICORN,
        FASTAPI,
        variables={"NETWORK": "digits"},
        environment="fastapi",
    ),
    "fastapi-reduced": Server(
        "FastAPI in a thread, photos decoded at a part of their size",
        UVICORN,
        FASTAPI,
        variables={"THREADS": "1", "REDUCED": "1"},
        environment="fastapi",
    ),
    "flask": Server(
        "Flask + gunicorn as in tutorials",
        "-m gunicorn --workers 2 --bind 127.0.0.1:{port} --config /dev/null "
        "benchmarks.performance.peers.flask.server:app",
        ("flask", "gunicorn"),
        form,
        environment="flask",
    ),
    "granian": Server(
        "the same Flask application in Granian",
        "-m granian --interface wsgi --workers 2 --host 127.0.0.1 --port {port} --no-ws --log-level warning "
        "benchmarks.performance.peers.flask.server:app",
        ("flask", "granian"),
        form,
        environment="granian",
    ),
    "litserve": Server(
        "LitServe",
        "-m benchmarks.performance.peers.litserve.server",
        ("litserve", "uvicorn"),
        form,
        variables={"PORT": "{port}"},
        environment="litserve",
    ),
    "bentoml": Server(
        "BentoML",
        "-m bentoml serve benchmarks.performance.peers.bentoml.server:Digits --host 127.0.0.1 --port {port}",
        ("bentoml", "uvicorn"),
        form,
        variables={"BENTOML_DO_NOT_TRACK": "true"},
        environment="bentoml",
    ),
    "mlserver": Server(
        "MLServer, images in V2's JSON",
        "{bin}/mlserver start benchmarks/performance/peers/mlserver",
        ("mlserver", "uvicorn"),
        v2_json,
        V2_PATH,
        v2_json_tensors,
        variables={"MLSERVER_HTTP_PORT": "{port}"},
        environment="mlserver",
    ),
    "pytriton": Server(
        "PyTriton, which is Triton with Python behind it",
        "-m benchmarks.performance.peers.pytriton.server",
        ("nvidia-pytriton",),
        path=V2_PATH,
        variables={"PORT": "{port}"},
        # The body is the tensor of one file.
        headers={"Inference-Header-Content-Length": "0"},
        environment="pytriton",
    ),
    "empty": Server(
        "an empty Flask handler in digits' workers",
        "-m gunicorn --config benchmarks/performance/peers/empty/gunicorn.conf.py",
        ("flask", "gunicorn"),
        variables={"PORT": "{port}", "DIGITS_WORKERS": "2"},
    ),
}


def python_of(environment: str | None) -> Path:
    """The Python that runs a peer in its environment, or ours."""
    return ENVIRONMENTS / environment / "bin" / "python" if environment else Path(sys.executable)


def install(environment: str) -> None:
    """Installs a peer's requirements into its own environment, unless it is up to date."""
    wanted, done = (folder / environment / "requirements.txt" for folder in (PEERS, ENVIRONMENTS))
    if done.exists() and done.read_bytes() == wanted.read_bytes():
        return
    click.echo(f"installing {environment}", err=True)
    subprocess.run([sys.executable, "-m", "venv", "--clear", done.parent], check=True)  # noqa: S603
    pip = [
        str(python_of(environment)),
        *["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes"],
    ]
    subprocess.run([*pip, "--requirement", str(wanted)], check=True)  # noqa: S603
    done.write_bytes(wanted.read_bytes())


@contextmanager
def running(server: Server, port: int, image: bytes, log: Path | None = None) -> Iterator[int]:
    """Starts a server, waits until it reads an image, and yields its main process.

    Its output goes to `log`, default a file next to the environments.
    """
    with socket.socket() as probe:
        if probe.connect_ex((HOST, port)) == 0:
            raise click.ClickException(f"port {port} is in use")
    python = python_of(server.environment)
    environment = os.environ | {"PYTHONPATH": str(server.directory)}
    environment |= {name: value.format(port=port) for name, value in server.variables.items()}
    ENVIRONMENTS.mkdir(exist_ok=True)
    log = log or ENVIRONMENTS / f"{port}.log"
    arguments = server.arguments.format(port=port, bin=python.parent).split()
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603 - the commands are this file's own
            [python, *arguments],
            cwd=server.directory,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            process_group=0,
        )
    try:
        deadline = time.monotonic() + READY_SECONDS
        while True:
            try:
                ask(server, port, image)
                break
            except OSError as error:
                if time.monotonic() > deadline or process.poll() is not None:
                    raise click.ClickException(f"{server.title} did not start: {error}; see {log}") from error
                time.sleep(0.2)
        yield process.pid
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=30)
        # Not all servers stop their own child processes.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def ask(server: Server, port: int, image: bytes) -> bytes:
    """The response to one image. Raises OSError."""
    content_type, body = server.encode(image)
    headers = {"Content-Type": content_type, **server.headers}
    request = urllib.request.Request(url(server, port), body, headers)  # noqa: S310
    with urllib.request.urlopen(request, timeout=30) as response:  # noqa: S310
        answer: bytes = response.read()
    return answer


def url(server: Server, port: int) -> str:
    return f"http://{HOST}:{port}{server.path}"


def http(path: str, content_type: str, body: bytes, headers: Mapping[str, str] | None = None) -> bytes:
    """A raw HTTP request."""
    lines = [f"POST {path} HTTP/1.1", f"Host: {HOST}", f"Content-Type: {content_type}", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return "\r\n".join([*lines, "", ""]).encode("ascii") + body


def versions(server: Server) -> str:
    """The installed versions of a server's packages."""
    code = "import sys, importlib.metadata as m; print(', '.join(f'{n} {m.version(n)}' for n in sys.argv[1:]))"
    command = [str(python_of(server.environment)), "-c", code, *server.packages]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()  # noqa: S603
