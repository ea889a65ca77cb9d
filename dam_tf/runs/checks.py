"""What is refused of a run from settings and shapes alone, before images are read."""

from dam_tf.config.image_counts import image_counts
from dam_tf.config.settings import Config, resolve
from dam_tf.data.real_data import RealData
from dam_tf.data.source import Contents
from dam_tf.methods.experts import missing_experts
from dam_tf.methods.method import Method, Task
from dam_tf.methods.registry import create
from dam_tf.networks.pools import NetworkPool
from dam_tf.runs.extension import Extended
from dam_tf.synthetic.initial import check_ipc


def check_distillation(
    config: Config,
    data: RealData | Contents,
    method: Method | None = None,
    networks: NetworkPool | None = None,
    replicas: int = 1,
    classes: int | None = None,
    trains: bool = False,
) -> None:
    """Raises a `UserError` where a run of `config` on `data` would be refused.

    Args:
        config: The settings of the run.
        data: The real data, read or not.
        method: How images are learned; as `config.method` says if left out.
        networks: Networks to match through; random ones if left out.
        replicas: Devices that share the work.
        classes: How many of the classes the run sees; all if left out.
        trains: Whether trained networks that the run lacks are trained first, as
            `method.train_networks` says.
    """
    planned = missing_experts(config) if trains else None
    config = resolve(config, data.image_shape)
    names = data.class_names[:classes]
    settings, shape = config.distillation, data.image_shape
    counts = image_counts(settings, len(names), data.train.counts[:classes])
    task = Task(
        config, shape, names, networks, replicas, counts=counts, planned=planned
    )
    (method or create(config.method)).check(task)
    Extended.of(config, data.image_shape, names)
    if settings.init != "noise":
        counts = image_counts(settings, len(data.class_names), data.train.counts)
        check_ipc(data.train, data.class_names, counts, settings.formation)
