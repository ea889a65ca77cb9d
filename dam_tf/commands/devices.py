"""The flags that say on which devices and workers a command runs.

They change nothing in what comes out, so they are not among a run's settings.
"""

import json
import os
import signal
import threading
from collections.abc import Callable

from dam_tf.base.errors import UserError
from dam_tf.commands import program
from dam_tf.commands.options import Options

_PATIENCE = 600  # seconds that the others of TF_CONFIG have to come


def define(options: Options) -> None:
    """Declares --strategy and --virtual_devices."""
    options.choice(
        "strategy",
        ["auto", "one_device", "mirrored", "multiworker"],
        "Where to run: one_device; mirrored, on all GPUs or virtual devices; "
        "multiworker, with the processes that TF_CONFIG names; or auto, the last of "
        "these that applies.",
    )
    options.integer(
        "virtual_devices",
        1,
        "Logical devices that the CPU is split into, to try --strategy=mirrored.",
    )


def is_chief(options: Options) -> bool:
    """Whether this process is the one that looks at folders, writes and reports.

    Raises:
        UserError: TF_CONFIG cannot be read.
    """
    return not _in_cluster(options) or _place(_tf_config()) == 0


def start(options: Options):
    """Imports TensorFlow, on the devices that the flags ask for.

    Returns:
        The `tf.distribute.Strategy`.

    Raises:
        UserError: the flags, or TF_CONFIG, cannot be had.
    """
    made = []

    def create():
        from dam_tf.base import devices

        made.append(
            devices.create_strategy(
                options["strategy"], options["virtual_devices"], _in_cluster(options)
            )
        )

    if not _in_cluster(options):
        program.import_tensorflow(create)
        return made[0]
    _place(_tf_config())
    # Of a worker that is gone TensorFlow prints a page; we print a line.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    program.import_tensorflow(lambda: None)
    _with_patience(create)
    return made[0]


def _in_cluster(options: Options) -> bool:
    return options["strategy"] in ("auto", "multiworker") and bool(
        os.environ.get("TF_CONFIG")
    )


def _tf_config() -> dict:
    text = os.environ["TF_CONFIG"]
    try:
        return json.loads(text)
    except ValueError as error:
        raise UserError(f"TF_CONFIG is not JSON ({error}): {text}") from None


def _place(tf_config: dict) -> int:
    """Returns this process's number among the workers; the chief's is 0."""
    try:
        cluster, task = tf_config["cluster"], tf_config["task"]
        tasks = [
            (job, number)
            for job in ("chief", "worker")
            for number in range(len(cluster.get(job, [])))
        ]
        return tasks.index((task["type"], int(task["index"])))
    except (KeyError, TypeError, AttributeError, ValueError):
        raise UserError(
            'TF_CONFIG must be like {"cluster": {"worker": ["host0:2222", '
            '"host1:2222"]}, "task": {"type": "worker", "index": 0}}, with a task of '
            f"the cluster; it is {json.dumps(tf_config)}"
        ) from None


def _with_patience(create: Callable[[], None]) -> None:
    """Waits for the other workers, but not for ever, and lets Ctrl-C through."""
    place, cluster = _place(_tf_config()), _tf_config()["cluster"]
    count = sum(len(cluster.get(job, [])) for job in ("chief", "worker"))
    print(f"Worker {place} of {count}: waiting for the others", flush=True)

    def give_up():
        program.complain(
            f"not all {count} workers of TF_CONFIG have come within {_PATIENCE} "
            "seconds; see that each is started, and that their addresses are right"
        )
        os._exit(program.WORKER_LOST)

    timer = threading.Timer(_PATIENCE, give_up)
    timer.daemon = True
    timer.start()
    # Python would act on Ctrl-C only after the wait, which is TensorFlow's.
    previous = signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        create()
    finally:
        signal.signal(signal.SIGINT, previous)
        timer.cancel()
