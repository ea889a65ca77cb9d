"""A distilled set served over HTTP, to be read and nothing else.

What is served is found, opened and fixed once, at the start: the files of the set,
`distilled.npz` with all its arrays (made in memory), and `set.json`. A request picks
one of these by its whole address, so none can name another file, and a set that is
replaced meanwhile goes on being served as it was. Only this machine reaches the server
unless `host` says more.
"""

import contextlib
import html
import http.server
import io
import ipaddress
import json
import os
import pathlib
import socket
import socketserver
import threading
import urllib.parse
from collections.abc import Callable, Collection, Mapping
from http import HTTPStatus
from typing import IO, Any, NamedTuple

import numpy as np

from dam_tf.base.errors import UserError
from dam_tf.base.messages import log
from dam_tf.exports.formats import npz_arrays
from dam_tf.synthetic.distilled_set import DistilledSet
from dam_tf.synthetic.folder import PREPROCESSING
from dam_tf.synthetic.records import NAME

_CHUNK = 2**20  # bytes that are read and sent at a time
_PATIENCE = 60  # seconds that a client may do nothing
_TURN = 0.1  # seconds until the server sees that it is to stop
_LOCAL = ("localhost", "127.0.0.1", "[::1]")  # how this machine calls itself
_TYPES = {".json": "application/json", ".txt": "text/plain; charset=utf-8"}
_BYTES = "application/octet-stream"


class _Served(NamedTuple):
    """Something at an address: how long it is, what it is, and how a part is read."""

    size: int
    kind: str
    read: Callable[[int, int], bytes | memoryview]  # of a length, from a start


class WebServer:
    """Serves a set over HTTP until it is closed.

    Args:
        folder: The folder of a run, or its `distilled/`.
        host: The address to listen at. Another one than this machine's own is warned
            of: whoever reaches it can read the set.
        port: Where to listen; 0 for any free port.

    Attributes:
        address: Where the index is, `http://host:port/`.
        distilled: The set.

    Raises:
        UserError: the set cannot be read, or the host or port cannot be used.

    Example:
        >>> import io, tempfile, urllib.request
        >>> folder, pixels = tempfile.mkdtemp(), np.zeros([2, 8, 8, 1], np.float32)
        >>> DistilledSet(pixels, np.array([0, 1]), ("cat", "dog")).save(folder)
        >>> with WebServer(folder) as server:
        ...     address = f"{server.address}distilled.npz"
        ...     with urllib.request.urlopen(address, timeout=60) as answer:
        ...         content = io.BytesIO(answer.read())
        >>> np.load(content, allow_pickle=False)["images"].shape
        (2, 8, 8, 1)
    """

    def __init__(
        self, folder: os.PathLike | str, host: str = "127.0.0.1", port: int = 0
    ):
        folder = pathlib.Path(folder)
        self.distilled = DistilledSet.load(folder)
        with contextlib.ExitStack() as opened:
            self._server = opened.enter_context(_listen(host, port))
            run = folder.absolute().parent if folder.name == NAME else folder
            self._server.served = _contents(self.distilled, run, opened)
            self._opened = opened.pop_all()
        bound, port = self._server.server_address[:2]
        self.address = f"http://{_name(host)}:{port}/"
        if ipaddress.ip_address(bound).is_loopback:
            self._server.names = {*_LOCAL, _name(host).lower()}
        else:
            log.warning(
                "Whoever reaches port %d of %s can read this set: nobody is asked who "
                "he is. Leave --host out, and this machine alone can read it.",
                port, _who(bound),
            )  # fmt: skip
        threading.Thread(
            target=self._server.serve_forever, args=(_TURN,), daemon=True
        ).start()

    def __enter__(self) -> "WebServer":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Stops serving; who is still reading is cut off."""
        self._server.shutdown()
        self._opened.close()


def check_port(port: int) -> None:
    """Raises a `UserError` where `port` is none."""
    if not 0 <= port <= 65535:
        raise UserError(f"port must be 0 to 65535, not {port}")


class _Server(http.server.ThreadingHTTPServer):
    """A thread for each client, so that a slow one keeps nobody waiting."""

    request_queue_size = 128
    served: Mapping[str, _Served]
    names: Collection[str] | None = None  # by which clients may call it; None: by any

    def __init__(self, family: socket.AddressFamily, address: tuple):
        self.address_family = family
        super().__init__(address, _Handler)

    def server_bind(self) -> None:
        # Python's own asks a name server what this machine is called, which may take
        # half a minute.
        socketserver.TCPServer.server_bind(self)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away in the middle is no news."""


class _Handler(http.server.BaseHTTPRequestHandler):
    server: _Server
    timeout = _PATIENCE
    server_version, sys_version = "dam_tf", ""

    def do_GET(self) -> None:
        self._answer(self._send)

    def do_HEAD(self) -> None:
        self._answer(lambda served: None)

    def _refuse(self) -> None:
        self.send_response(HTTPStatus.METHOD_NOT_ALLOWED)
        self.send_header("Allow", "GET, HEAD")
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_POST = do_PUT = do_DELETE = do_PATCH = do_OPTIONS = _refuse

    def _answer(self, send: Callable[[_Served], None]) -> None:
        # A page from elsewhere may lead its own name here; it must not read the set.
        name = self.headers.get("Host", _LOCAL[0]).lower()
        if self.server.names and _without_port(name) not in self.server.names:
            self.send_error(HTTPStatus.FORBIDDEN, explain="Call it localhost.")
            return
        path = urllib.parse.unquote(self.path.partition("?")[0])
        served = self.server.served.get(path)
        if served is None:
            self.send_error(HTTPStatus.NOT_FOUND, explain="The index is at /.")
            return
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", served.kind)
        self.send_header("Content-Length", str(served.size))
        self.send_header("Content-Security-Policy", "default-src 'none'")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.end_headers()
        send(served)

    def _send(self, served: _Served) -> None:
        for start in range(0, served.size, _CHUNK):
            length = min(_CHUNK, served.size - start)
            self.wfile.write(served.read(length, start))

    def log_message(self, *words: object) -> None:
        """Requests are not printed."""


def _listen(host: str, port: int) -> _Server:
    check_port(port)
    try:
        (family, _, _, _, address), *_ = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except (OSError, UnicodeError):
        raise UserError(
            f"host {host!r} is no address of this machine; leave --host out to serve "
            "this machine alone, or give one of its addresses, or 0.0.0.0 for all"
        ) from None
    try:
        return _Server(family, address)
    except OSError as error:
        raise UserError(
            f"port {port} of {host} cannot be used ({os.strerror(error.errno)}); "
            "choose another with --port, or 0 for any free one"
        ) from None


def _contents(
    distilled: DistilledSet, run: pathlib.Path, opened: contextlib.ExitStack
) -> dict[str, _Served]:
    """Opens all that is served, by its address."""
    served = _files(run, opened)
    arrays = io.BytesIO()
    np.savez(arrays, **npz_arrays(distilled))
    served["/distilled.npz"] = _in_memory(arrays.getbuffer(), _BYTES)
    described = {
        "source": distilled.name,
        "images": len(distilled.images),
        "image_shape": distilled.image_shape,
        "class_names": distilled.class_names,
        "files": {path[1:]: one.size for path, one in served.items()},
    }
    text = json.dumps(described, indent=1, ensure_ascii=False)
    served["/set.json"] = _in_memory(f"{text}\n".encode(), _TYPES[".json"])
    page = _index(distilled, served).encode()
    served["/"] = _in_memory(page, "text/html; charset=utf-8")
    return served


def _files(run: pathlib.Path, opened: contextlib.ExitStack) -> dict[str, _Served]:
    """Opens the files of a set, but not those that a link elsewhere stands for."""
    root, served, elsewhere = run.resolve(), {}, []
    for path in sorted((*(run / NAME).rglob("*"), *(run / PREPROCESSING).rglob("*"))):
        name, real = path.relative_to(run), path.resolve()
        if not real.is_file() or any(part.startswith(".") for part in name.parts):
            continue
        if not real.is_relative_to(root):
            elsewhere.append(name.as_posix())
            continue
        file = opened.enter_context(real.open("rb"))
        kind = _TYPES.get(path.suffix, _BYTES)
        served[f"/{name.as_posix()}"] = _in_file(file, kind)
    if elsewhere:
        log.warning(
            "Not served, as a link leads out of %s: %s.", run, ", ".join(elsewhere)
        )
    return served


def _in_file(file: IO[bytes], kind: str) -> _Served:
    def read(length: int, start: int) -> bytes:
        return os.pread(file.fileno(), length, start)

    return _Served(os.fstat(file.fileno()).st_size, kind, read)


def _in_memory(content: bytes | memoryview, kind: str) -> _Served:
    view = memoryview(content)
    return _Served(len(view), kind, lambda length, start: view[start : start + length])


def _index(distilled: DistilledSet, served: Mapping[str, _Served]) -> str:
    title = html.escape(distilled.name or "A distilled set")
    shape = "x".join(map(str, distilled.image_shape))
    lines = [
        f'<li><a href="{urllib.parse.quote(path[1:])}">{html.escape(path[1:])}</a>, '
        f"{one.size:,} bytes</li>\n"
        for path, one in served.items()
    ]
    return (
        f'<!DOCTYPE html>\n<html lang="en"><meta charset="utf-8"><title>{title}</title>'
        f"\n<h1>{title}</h1>\n<p>{len(distilled.images):,} images {shape} of "
        f"{distilled.num_classes:,} classes</p>\n<ul>\n{''.join(lines)}</ul>\n</html>\n"
    )


def _name(host: str) -> str:
    """Returns how a client writes a host; one that is every host is this machine."""
    with contextlib.suppress(ValueError):
        address = ipaddress.ip_address(host)
        if address.is_unspecified:
            return socket.gethostname()
        return f"[{host}]" if address.version == 6 else host
    return host or socket.gethostname()


def _who(bound: str) -> str:
    if ipaddress.ip_address(bound).is_unspecified:
        return "this machine, through every network that it is in,"
    return bound


def _without_port(name: str) -> str:
    host, colon, port = name.rpartition(":")
    return host if colon and port.isdecimal() else name
