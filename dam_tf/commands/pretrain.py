"""Trains a pool of networks on a data set, for the methods dance and ncfm.

    python -m dam_tf pretrain --dataset=cifar10 --networks=5 --epochs=20
    python -m dam_tf distill --dataset=cifar10 --ipc=10 --method=dance \\
        --set=method.pool=runs/cifar10_pool

Of each network the weights before and after its training on all images are kept, with
the classifier and the statistics of batch norm. NCFM has 20 networks of 60 epochs, and
DANCE draws from 5. One epoch of one ConvNet on CIFAR-10 takes two to four minutes on
two cores, so --networks=3 --epochs=10 takes an hour or two. A pool serves every later
run on the same data by the same network and preprocessing.

SGD has what the code of NCFM gives it: learning rate 0.01, momentum 0.9, weight decay
5e-4, batches of 128, half of them mixed by CutMix. The schedule and the augmentation
are those of our evaluation, --set=evaluation.schedule and the like change them. Each
network is a file in --output_dir, written after each epoch; what was stopped continues
with --resume, which also adds networks.

--keep=all keeps each network after every epoch, so that mtt and tesla can follow them,
too. A folder of `experts` is a pool as well.
"""

from dam_tf.commands import experts
from dam_tf.commands.options import DATA, Options
from dam_tf.config.experts import (
    KEPT,
    POOL_TRAINING,
    STORAGES,
    ExpertTraining,
    expert_config,
)

OPTIONS = Options(*DATA, "preset", "network", "seed", "epochs", "augmentation")
OPTIONS.integer("networks", 5, "How many.")
OPTIONS.choice(
    "keep",
    KEPT[::-1],
    "States of each network: before and after its training, or after every epoch.",
)
OPTIONS.choice(
    "storage", STORAGES, "Of weights in files; bfloat16 takes half the space."
)
OPTIONS.define_config()
OPTIONS.define_output("pool", "runs/<dataset>_pool")


def main() -> None:
    given = OPTIONS.overrides()
    config = expert_config(OPTIONS.config(), given, POOL_TRAINING)
    kept = {"storage": OPTIONS["storage"], "kept": OPTIONS["keep"]}
    experts.train(OPTIONS, config, ExpertTraining(OPTIONS["networks"], **kept), "pool")
