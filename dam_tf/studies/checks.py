"""What a study refuses from settings and shapes alone, before it changes its folder."""

from dam_tf.base.errors import UserError
from dam_tf.config.settings import Config
from dam_tf.data.real_data import RealData
from dam_tf.data.source import Contents
from dam_tf.evaluation.evaluate import check_networks


def check_evaluation(config: Config, data: RealData | Contents) -> None:
    """Raises a `UserError` where networks of `config` cannot be tested on `data`.

    Args:
        config: Its section network says which network is trained.
        data: The real data, read or not.
    """
    check_networks(config, data)
    if data.test is None or not data.test.counts.sum():
        raise UserError(
            f"{config.dataset.name} has no test images, which the networks of this "
            "study are tested on; give data with a test split"
        )
