"""Serves a distilled set over HTTP, to this machine alone unless --host says more.

    python -m dam_tf serve --distilled=runs/digits --port=5050
    python examples/serve_client.py --service=http://localhost:5050

Ctrl-C or SIGTERM ends it. --protocol=tf_data serves batches over TensorFlow's tf.data
service instead. Its servers listen on every network of the machine and run any graph
that they are sent: whoever reaches their ports can run code as you. Use it behind a
firewall only.
"""

import contextlib
import signal
import time

from dam_tf.base.errors import UserError
from dam_tf.base.interruption import Interrupted, stop_on_signals
from dam_tf.commands import program
from dam_tf.commands.options import Options

OPTIONS = Options()
OPTIONS.text("distilled", None, "Folder of a run.")
OPTIONS.choice("protocol", ["http", "tf_data"], "http: files, to read and no more.")
OPTIONS.integer("port", 0, "Where to listen; 0: any free port.", minimum=0)
OPTIONS.text(
    "host",
    None,
    "http: the address to listen at, 0.0.0.0 for all; default: 127.0.0.1. tf_data: the "
    "name under which trainers reach this machine; default: localhost.",
)
_TF_DATA = "Of tf_data: "
OPTIONS.text("space", "pixels", f"{_TF_DATA}pixels, or network: what networks see.")
OPTIONS.integer("batch_size", 256, f"{_TF_DATA}images in a batch.", minimum=None)
OPTIONS.switch("shuffle", True, f"{_TF_DATA}draw a new order in each pass.")
OPTIONS.switch("repeat", False, f"{_TF_DATA}serve passes without end.")
_OF_TF_DATA = ("space", "batch_size", "shuffle", "repeat")

_READ = """\
Serving {folder} at {address}
({images} images {shape}, {classes} classes). Ctrl-C ends it. Any program reads it with

    import io, urllib.request
    import numpy as np
    with urllib.request.urlopen("{address}distilled.npz", timeout=60) as answer:
        arrays = np.load(io.BytesIO(answer.read()), allow_pickle=False)
    images, labels = arrays["images"], arrays["labels"]

model_images are what networks were trained on. {address} lists all that is served."""

_TAKE = """\
Serving {folder} ({space}) at {address}; Ctrl-C ends it. A trainer reads it with

    service = tf.data.experimental.service
    batches = service.from_dataset_id(
        service.ShardingPolicy.OFF, "{address}", "{dataset_id}"
    )

as {images} and {labels}. It waits for ever if nobody serves."""


def main() -> None:
    if not OPTIONS["distilled"]:
        raise UserError("--distilled is missing: the folder of a run")
    web = OPTIONS["protocol"] == "http"
    if web and (wrong := [name for name in _OF_TF_DATA if name in OPTIONS.given()]):
        raise UserError(
            f"--{wrong[0]} is of --protocol=tf_data; who reads over HTTP gets all "
            "images, and makes batches of them himself"
        )
    print(f"Reading {OPTIONS['distilled']}", flush=True)

    program.import_tensorflow()
    with contextlib.ExitStack() as serving:
        text = _serve_files(serving) if web else _serve_batches(serving)
        stop = serving.enter_context(stop_on_signals())
        print(text, flush=True)
        while not stop:
            time.sleep(0.1)
    name = signal.Signals(stop.signal_number).name
    raise Interrupted(f"stopped serving ({name})", stop.signal_number)


def _serve_files(serving: contextlib.ExitStack) -> str:
    from dam_tf.exports.web import WebServer

    folder, host = OPTIONS["distilled"], OPTIONS["host"] or "127.0.0.1"
    server = serving.enter_context(WebServer(folder, host, OPTIONS["port"]))
    return _READ.format(
        folder=folder,
        address=server.address,
        images=len(server.distilled.images),
        shape="x".join(map(str, server.distilled.image_shape)),
        classes=server.distilled.num_classes,
    )


def _serve_batches(serving: contextlib.ExitStack) -> str:
    from dam_tf.exports.serving import DATASET_ID, Server

    folder, host = OPTIONS["distilled"], OPTIONS["host"] or "localhost"
    of_batches = [OPTIONS[name] for name in _OF_TF_DATA]
    server = serving.enter_context(Server(folder, *of_batches, host, OPTIONS["port"]))
    images, labels = map(_describe, server.element_spec)
    return _TAKE.format(
        folder=folder,
        space=OPTIONS["space"],
        address=server.address,
        dataset_id=DATASET_ID,
        images=images,
        labels=labels,
    )


def _describe(spec) -> str:
    sides = ["batch" if side is None else str(side) for side in spec.shape]
    return f"{spec.dtype.name} [{', '.join(sides)}]"
