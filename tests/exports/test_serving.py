"""A set served by the tool to programs that know TensorFlow only."""

import pathlib
import signal
import socket
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from dam_tf.base.errors import UserError
from dam_tf.data.preprocessing.preprocessing import fit_preprocessing
from dam_tf.exports import serving
from dam_tf.synthetic.distilled_set import DistilledSet

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def distilled() -> DistilledSet:
    rng = np.random.default_rng(0)
    real = rng.integers(0, 256, (40, 6, 6, 3), dtype=np.uint8)
    images = rng.random((10, 6, 6, 3), np.float32)
    preprocessing = fit_preprocessing("zca", real)
    return DistilledSet(images, np.arange(10), tuple("abcdefghij"), preprocessing)


@pytest.fixture(scope="module")
def run(distilled, tmp_path_factory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("served")
    distilled.save(folder, shard_bytes=2000)  # several files
    return folder


def arrays(dataset: tf.data.Dataset) -> tuple[np.ndarray, np.ndarray]:
    return tuple(map(np.concatenate, zip(*dataset.as_numpy_iterator(), strict=True)))


@pytest.mark.parametrize("space", ["pixels", "network"])
def test_batches_are_the_set(run, distilled, space):
    dataset = serving.batches(run, space, 4, shuffle=False)
    assert [len(labels) for _, labels in dataset] == [4, 4, 2]
    images, labels = arrays(dataset)
    np.testing.assert_allclose(images, distilled.to_numpy(space)[0], atol=1e-5)
    assert labels.tolist() == list(range(10))


def test_batches_are_shuffled_anew_and_repeated(run, distilled):
    dataset = serving.batches(run, "pixels", 10, shuffle=True, repeat=True)
    passes = [
        (images, labels.tolist())
        for images, labels in dataset.take(4).as_numpy_iterator()
    ]
    assert len({tuple(labels) for _, labels in passes}) > 1
    for images, labels in passes:
        assert sorted(labels) == list(range(10))
        np.testing.assert_array_equal(images, distilled.images[labels])


def test_what_cannot_be_served_is_refused(run):
    with pytest.raises(UserError, match=r"space 'netwrk' \(did you mean 'network'\?\)"):
        serving.batches(run, "netwrk", 4)
    with pytest.raises(UserError, match="batch_size must be at least 1, not 0"):
        serving.Server(run, batch_size=0)
    with pytest.raises(UserError, match="port must be 0 to 65535, not 70000"):
        serving.Server(run, port=70000)
    with pytest.raises(UserError, match="no distilled set"):
        serving.Server(run / "preprocessing")


def test_a_server_in_this_process_starts_and_stops(run, caplog):
    with serving.Server(run, batch_size=5) as server:
        served = read(server.address)
        assert served.element_spec == server.element_spec
        assert sorted(arrays(served)[1]) == list(range(10))
        (line,) = caplog.messages
        assert "whoever reaches them can run code as you" in line
        port = int(server.address.rpartition(":")[2])
        with pytest.raises(UserError, match=rf"port {port} .*\(Address already in use"):
            serving.Server(run, port=port)


def read(address: str, job_name: str | None = None) -> tf.data.Dataset:
    service = tf.data.experimental.service
    return service.from_dataset_id(
        service.ShardingPolicy.OFF, address, serving.DATASET_ID, job_name=job_name
    )


def start(*command: object) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, *map(str, command)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
def test_the_tool_serves_many_until_it_is_stopped(run, distilled):
    tool = [ROOT / "tools" / "serve.py", f"--distilled={run}", "--batch_size=4"]
    process = start(*tool, "--protocol=tf_data", "--space=network")
    try:
        lines = [process.stdout.readline() for _ in range(9)]
        assert lines[-1].startswith("as float32 [batch, 6, 6, 3] and int64 [batch].")
        address = lines[1].split(" at ")[1].split(";")[0]
        assert f'"{address}", "distilled"\n' in lines[5]
        client = [ROOT / "examples" / "serve_client.py", f"--service={address}"]
        clients = [start(*client, "--epochs=2") for _ in range(2)]
        images, labels = arrays(read(address))  # beside those two
        np.testing.assert_allclose(
            images, distilled.to_numpy("network")[0][labels], atol=1e-5
        )
        assert sorted(labels) == list(range(10))
        for one in clients:
            output, errors = one.communicate(timeout=900)
            assert one.returncode == 0, errors
            assert "Batches of (6, 6, 3), float32" in output
            assert output.count("Loss: ") == 2
    finally:
        process.send_signal(signal.SIGTERM)
        output, errors = process.communicate(timeout=300)
    assert process.returncode == 143
    warning, stopped = errors.splitlines()
    assert warning.startswith("Warning: TensorFlow's servers listen on every network")
    assert stopped == "serve.py: stopped serving (SIGTERM)"
    assert output == ""


@pytest.mark.slow
def test_the_tool_serves_files_until_ctrl_c_whoever_reads(run):
    process = start(ROOT / "tools" / "serve.py", f"--distilled={run}")
    try:
        reading, serving = (process.stdout.readline() for _ in range(2))
        assert reading == f"Reading {run}\n"
        address = serving.split(" at ")[1].strip()
        client = start(
            ROOT / "examples" / "serve_client.py", f"--service={address}", "--epochs=1"
        )
        output, errors = client.communicate(timeout=900)
        assert client.returncode == 0, errors
        assert output.startswith("Batches of (6, 6, 3), float32\nLoss: ")
        host, _, port = address.removeprefix("http://").strip("/").rpartition(":")
        waiting = socket.create_connection((host, int(port)), 10)
        waiting.sendall(b"GET /dis")  # and no more
    finally:
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=300)
    waiting.close()
    assert process.returncode == 130
    assert errors == "serve.py: stopped serving (SIGINT)\n"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("protocol", "mute"), [("http", True), ("grpc", False), ("grpc", True)]
)
def test_a_client_without_a_server_ends(protocol, mute):
    """Nobody listens, or somebody who never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        if not mute:
            server.close()
        client = start(
            ROOT / "examples" / "serve_client.py",
            f"--service={protocol}://127.0.0.1:{port}",
            "--timeout=1",
        )
        _, errors = client.communicate(timeout=300)
    assert client.returncode == 1
    reason = "no answer within 1 seconds" if mute else "Connection refused"
    assert "serve_client.py: cannot read from " in errors and reason in errors
