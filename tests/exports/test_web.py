"""A set served over HTTP: what is given, to whom, and what is not."""

import io
import json
import os
import pathlib
import re
import socket
import urllib.error
import urllib.parse
import urllib.request

import numpy as np
import pytest

from dam_tf.base.errors import UserError
from dam_tf.data.preprocessing.preprocessing import fit_preprocessing
from dam_tf.exports.web import WebServer
from dam_tf.synthetic.distilled_set import DistilledSet

NAMES = ("red panda", "<b>", "犬")


def has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


IPV6 = [("::1", r"http://\[::1\]:\d+/")] if has_ipv6() else []


@pytest.fixture(scope="module")
def distilled() -> DistilledSet:
    rng = np.random.default_rng(0)
    real = rng.integers(0, 256, (20, 6, 6, 3), dtype=np.uint8)
    images = rng.normal(0.5, 1, (6, 6, 6, 3))
    preprocessing = fit_preprocessing("standardize", real)
    return DistilledSet(images, [0, 1, 2, 2, 1, 0], NAMES, preprocessing, "<i>pandas")


@pytest.fixture(scope="module")
def run(distilled, tmp_path_factory) -> pathlib.Path:
    """A run beside secrets, with a link to one of them."""
    root = tmp_path_factory.mktemp("served")
    distilled.save(root / "run")
    (root / "secret.txt").write_text("secret")
    (root / "run" / "config.toml").write_text("secret")
    (root / "run" / "distilled" / ".hidden").write_text("secret")
    (root / "run" / "distilled" / "link.txt").symlink_to("../../secret.txt")
    (root / "run" / "distilled" / "links").symlink_to("../..")
    (root / "run" / "distilled" / "broken").symlink_to("nowhere")
    os.mkfifo(root / "run" / "distilled" / "pipe")
    return root / "run"


@pytest.fixture(scope="module")
def server(run):
    with WebServer(run) as one:
        yield one


def get(address: str, path: str = "", **options) -> tuple[int, dict, bytes]:
    request = urllib.request.Request(address + path, **options)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, dict(answer.headers), answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, dict(error.headers), error.read()


def ask(server: WebServer, line: str) -> bytes:
    """The whole answer to a request that urllib would make tidy."""
    parts = urllib.parse.urlsplit(server.address)
    with socket.create_connection((parts.hostname, parts.port), 20) as client:
        client.sendall(f"{line}\r\nHost: {parts.netloc}\r\n\r\n".encode())
        return b"".join(iter(lambda: client.recv(4096), b""))


def test_the_arrays_are_those_of_the_set(server, distilled):
    status, headers, content = get(server.address, "distilled.npz")
    assert status == 200 and int(headers["Content-Length"]) == len(content)
    assert headers["Content-Type"] == "application/octet-stream"
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        np.testing.assert_array_equal(arrays["images"], distilled.images)
        np.testing.assert_array_equal(
            arrays["model_images"], distilled.to_numpy("network")[0]
        )
        assert arrays["labels"].tolist() == distilled.labels.tolist()
        assert tuple(arrays["class_names"]) == NAMES


def test_every_file_of_the_set_is_listed_and_given_whole(server, run, tmp_path):
    described = json.loads(get(server.address, "set.json")[2])
    assert described["class_names"] == list(NAMES)
    assert (described["images"], described["image_shape"]) == (6, [6, 6, 3])
    page = get(server.address)[2].decode()
    assert "<h1>&lt;i&gt;pandas</h1>" in page
    links = re.findall('href="(.*?)"', page)
    assert sorted(links) == sorted([*described["files"], "set.json"])
    for path, size in described["files"].items():
        content = get(server.address, path)[2]
        assert len(content) == size
        if path != "distilled.npz":
            assert content == (run / path).read_bytes()
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_bytes(content)
    copy = DistilledSet.load(tmp_path)
    np.testing.assert_array_equal(copy.images, DistilledSet.load(run).images)
    assert copy.preprocessing.kind == "standardize"


@pytest.mark.parametrize(
    "path",
    [
        "/config.toml",
        "/../secret.txt",
        "/distilled/../config.toml",
        "/distilled/%2e%2e/config.toml",
        "/%2e%2e%2fsecret.txt",
        "/..%5csecret.txt",
        "//etc/passwd",
        "/etc/passwd",
        "{root}/secret.txt",
        "/{root}/secret.txt",
        "file://{root}/secret.txt",
        "/distilled/link.txt",
        "/distilled/links/secret.txt",
        "/distilled/.hidden",
        "/distilled/pipe",
        "/distilled/broken",
        "/distilled",
        "/distilled/",
        "/distilled.npz%00",
        "*",
    ],
)
def test_nothing_else_is_given(server, run, path):
    answer = ask(server, f"GET {path.format(root=run.parent)} HTTP/1.1")
    assert answer.startswith(b"HTTP/1.0 404 ") and b"secret" not in answer


def test_links_that_lead_out_are_named(run, caplog):
    with WebServer(run):
        pass
    (line,) = caplog.messages
    assert line.endswith(": distilled/link.txt.") and "Not served" in line


def test_head_is_the_head_of_get(server):
    wanted = get(server.address, "distilled/metadata.json")
    status, headers, content = get(
        server.address, "distilled/metadata.json", method="HEAD"
    )
    assert (status, content) == (200, b"") and len(wanted[2]) > 0
    for name in ("Content-Length", "Content-Type"):
        assert headers[name] == wanted[1][name]
    assert headers["Content-Type"] == "application/json"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_it_can_only_be_read(server, method):
    status, headers, _ = get(server.address, method=method, data=b"x")
    assert (status, headers["Allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize("line", ["BREW / HTTP/1.1", "", "\x00", "GET / HTTP/9.9"])
def test_nonsense_is_answered_and_the_server_lives(server, line):
    ask(server, line)
    assert get(server.address)[0] == 200


def test_a_page_from_elsewhere_cannot_lead_its_own_name_here(server):
    port = urllib.parse.urlsplit(server.address).port
    for name, status in (
        ("evil.example", 403),
        (f"evil.example:{port}", 403),
        (f"localhost:{port}", 200),
        ("LOCALHOST", 200),
        ("[::1]:8080", 200),
    ):
        assert get(server.address, headers={"Host": name})[0] == status, name


def test_slow_clients_keep_nobody_waiting(server):
    parts = urllib.parse.urlsplit(server.address)
    waiting = [
        socket.create_connection((parts.hostname, parts.port), 20) for _ in range(30)
    ]
    for client in waiting[:15]:
        client.sendall(b"GET /distilled.npz HTTP/1.1\r\nHost: localh")
    assert get(server.address, "distilled.npz")[0] == 200
    for client in waiting:
        client.close()


def test_a_set_that_is_replaced_goes_on_as_it_was(distilled, tmp_path):
    distilled.save(tmp_path)
    shard = "distilled/distilled-train.tfrecord-00000-of-00001"
    before = (tmp_path / shard).read_bytes()
    with WebServer(tmp_path / "distilled") as server:
        DistilledSet(distilled.images[:1], [0], NAMES).save(tmp_path)
        assert (tmp_path / shard).read_bytes() != before
        assert get(server.address, shard)[2] == before


@pytest.mark.parametrize(
    ("host", "there"),
    [
        ("localhost", r"http://localhost:\d+/"),
        ("127.0.0.2", r"http://127\.0\.0\.2:\d+/"),
        *IPV6,
    ],
)
def test_this_machine_alone_is_served_quietly(distilled, tmp_path, caplog, host, there):
    distilled.save(tmp_path)
    with WebServer(tmp_path, host) as server:
        assert re.fullmatch(there, server.address)
        assert get(server.address, "set.json")[0] == 200
    assert caplog.messages == []


@pytest.mark.parametrize("host", ["0.0.0.0", *(["::"] * len(IPV6))])
def test_other_machines_are_served_loudly(distilled, tmp_path, caplog, host):
    distilled.save(tmp_path)
    with WebServer(tmp_path, host) as server:
        port = urllib.parse.urlsplit(server.address).port
        assert socket.gethostname().lower() in server.address.lower()
        address = f"http://127.0.0.1:{port}/"
        assert get(address, headers={"Host": "any.example"})[0] == 200
    (line,) = caplog.messages
    assert f"Whoever reaches port {port} of this machine, through every" in line


def test_what_cannot_be_served_is_refused(run, server):
    port = urllib.parse.urlsplit(server.address).port
    for options, message in (
        ({"port": port}, rf"port {port} of 127.0.0.1 .*\(Address already in use\)"),
        ({"port": 70000}, "port must be 0 to 65535, not 70000"),
        ({"host": "no.such.invalid"}, "is no address of this machine"),
        ({"host": "a" * 300}, "is no address of this machine"),
    ):
        with pytest.raises(UserError, match=message):
            WebServer(run, **options)
    with pytest.raises(UserError, match="no distilled set"):
        WebServer(run / "preprocessing")
