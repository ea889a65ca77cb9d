"""Serves a distilled set to many trainers, over TensorFlow's tf.data service.

    python tools/serve.py --distilled=runs/digits --port=5050
    python examples/serve_client.py --service=grpc://localhost:5050

Ctrl-C or SIGTERM ends it. Whoever reaches the port can read the set.
"""

import signal
import time

import _command
from absl import flags

from dam_tf.base.errors import UserError
from dam_tf.base.interruption import Interrupted, stop_on_signals

_DISTILLED = flags.DEFINE_string("distilled", None, "Folder of a run.")
_PORT = flags.DEFINE_integer("port", 0, "Where to listen; 0: any free port.")
_HOST = flags.DEFINE_string(
    "host", "localhost", "Name under which trainers reach this machine."
)
_SPACE = flags.DEFINE_string(
    "space", "pixels", "pixels, or network: what networks are trained on."
)
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 256, "Images in a batch.")
_SHUFFLE = flags.DEFINE_bool("shuffle", True, "Draw a new order in each pass.")
_REPEAT = flags.DEFINE_bool("repeat", False, "Serve passes without end.")

_CLIENT = """\
Serving {folder} ({space}) at {address}; Ctrl-C ends it. A trainer reads it with

    service = tf.data.experimental.service
    batches = service.from_dataset_id(
        service.ShardingPolicy.OFF, "{address}", "{dataset_id}"
    )

as {images} and {labels}."""


def main() -> None:
    if not _DISTILLED.value:
        raise UserError("--distilled is missing: the folder of a run")

    _command.import_tensorflow()
    from dam_tf.exports import serving

    with (
        stop_on_signals() as stop,
        serving.Server(
            _DISTILLED.value,
            _SPACE.value,
            _BATCH_SIZE.value,
            _SHUFFLE.value,
            _REPEAT.value,
            _HOST.value,
            _PORT.value,
        ) as server,
    ):
        images, labels = map(_describe, server.element_spec)
        text = _CLIENT.format(
            folder=_DISTILLED.value,
            space=_SPACE.value,
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


if __name__ == "__main__":
    _command.run(main)
