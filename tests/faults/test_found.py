"""What campaigns have found, one case each; the kind is mended where the test says."""

import numpy as np
import pytest

from dam_tf.base import files
from dam_tf.base.errors import UserError
from dam_tf.config.settings import make_config
from dam_tf.data.preprocessing.preprocessing import Preprocessing
from dam_tf.networks.pools import NetworkPool
from dam_tf.synthetic.distilled_set import DistilledSet

pytestmark = pytest.mark.usefixtures("eagerly")


class Killed(BaseException):
    """Stands for a kill."""


@pytest.mark.parametrize(
    "text", ["preset = " + "9" * 5000, "preset = " + "[" * 3000, "a = 1\na = 2", "\0"]
)
def test_settings_that_python_itself_refuses(text, tmp_path):
    """config/schema.py: more digits than Python reads, more brackets than it nests."""
    file = tmp_path / "config.toml"
    file.write_text(text)
    with pytest.raises(UserError, match=r"cannot read configuration file .*config"):
        make_config(file)


def test_a_pool_of_two_kinds_of_networks():
    """networks/pools.py."""
    with pytest.raises(UserError, match="not of 2 kinds of shapes"):
        NetworkPool([[np.zeros([2])], [np.zeros([3])]])


def test_a_set_killed_while_its_preprocessing_is_written(tmp_path, monkeypatch):
    """synthetic/folder.py: it left a folder in a folder, which nobody removed."""
    preprocessing = Preprocessing("standardize")
    preprocessing.build((None, 8, 8, 1))
    images = np.zeros([2, 8, 8, 1], np.float32)
    distilled = DistilledSet(images, [0, 1], ("cat", "dog"), preprocessing)

    def kill(*_):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(files, "_remove", lambda path: None)
        patch.setattr(files, "publish_folder", kill)
        with pytest.raises(Killed):
            distilled.save(tmp_path)
    assert list(tmp_path.glob(".preprocessing-*.part"))
    distilled.save(tmp_path)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["distilled", "preprocessing"]
