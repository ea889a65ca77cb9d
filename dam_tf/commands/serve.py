"""Serves a distilled set to many trainers, over TensorFlow's tf.data service.

    python -m dam_tf serve --distilled=runs/digits --port=5050
    python examples/serve_client.py --service=grpc://localhost:5050

Ctrl-C or SIGTERM ends it. TensorFlow's servers listen on every network of the machine
and run any graph that they are sent: whoever reaches the port can run code as you.
Serve behind a firewall or through an SSH tunnel.
"""

import signal
import time

from dam_tf.base.errors import UserError
from dam_tf.base.interruption import Interrupted, stop_on_signals
from dam_tf.commands import program
from dam_tf.commands.options import Options

OPTIONS = Options()
OPTIONS.text("distilled", None, "Folder of a run.")
OPTIONS.integer("port", 0, "Where to listen; 0: any free port.", minimum=0)
OPTIONS.text("host", "localhost", "Name under which trainers reach this machine.")
OPTIONS.text("space", "pixels", "pixels, or network: what networks are trained on.")
OPTIONS.integer("batch_size", 256, "Images in a batch.", minimum=None)
OPTIONS.switch("shuffle", True, "Draw a new order in each pass.")
OPTIONS.switch("repeat", False, "Serve passes without end.")

_CLIENT = """\
Serving {folder} ({space}) at {address}; Ctrl-C ends it. A trainer reads it with

    service = tf.data.experimental.service
    batches = service.from_dataset_id(
        service.ShardingPolicy.OFF, "{address}", "{dataset_id}"
    )

as {images} and {labels}."""


def main() -> None:
    if not OPTIONS["distilled"]:
        raise UserError("--distilled is missing: the folder of a run")

    program.import_tensorflow()
    from dam_tf.exports import serving

    with (
        stop_on_signals() as stop,
        serving.Server(
            OPTIONS["distilled"],
            OPTIONS["space"],
            OPTIONS["batch_size"],
            OPTIONS["shuffle"],
            OPTIONS["repeat"],
            OPTIONS["host"],
            OPTIONS["port"],
        ) as server,
    ):
        images, labels = map(_describe, server.element_spec)
        text = _CLIENT.format(
            folder=OPTIONS["distilled"],
            space=OPTIONS["space"],
            address=server.address,
            dataset_id=serving.DATASET_ID,
            images=images,
            labels=labels,
        )
        print(text, flush=True)
        while not stop:
            time.sleep(0.2)
    name = signal.Signals(stop.signal_number).name
    raise Interrupted(f"stopped serving ({name})", stop.signal_number)


def _describe(spec) -> str:
    sides = ["batch" if side is None else str(side) for side in spec.shape]
    return f"{spec.dtype.name} [{', '.join(sides)}]"
