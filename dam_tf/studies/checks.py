"""What a study refuses from settings and shapes alone, before it changes its folder."""

from dam_tf import networks
from dam_tf.base.errors import UserError
from dam_tf.config.settings import Config, resolve
from dam_tf.data.real_data import RealData
from dam_tf.methods.method import Task
from dam_tf.methods.registry import create
from dam_tf.synthetic.initial import check_ipc


def check_distillation(
    config: Config, data: RealData, classes: int | None = None
) -> None:
    """Raises a `UserError` where a run of `config` on `data` would be refused.

    Args:
        config: The settings of the run.
        data: The real data.
        classes: How many of their classes the run sees; all if left out.
    """
    config = resolve(config, data.image_shape)
    names = data.class_names[:classes]
    create(config.method).check(Task(config, data.image_shape, names))
    if config.distillation.init != "noise":
        check_ipc(data.train, data.class_names, config.distillation.ipc)


def check_evaluation(config: Config, data: RealData) -> None:
    """Raises a `UserError` where networks of `config` cannot be tested on `data`.

    Args:
        config: Its section network says which network is trained.
        data: The real data.
    """
    settings = config.network
    networks.create(settings.name, data.image_shape, data.num_classes, settings)
    if data.test is None or not len(data.test.labels):
        raise UserError(
            f"{data.name} has no test images, which the networks of this study are "
            "tested on; give data with a test split"
        )
