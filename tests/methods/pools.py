"""What the tests of DANCE and NCFM share: tiny pools of trained networks."""

import numpy as np

from dam_tf.config.experts import (
    NETWORK,
    POOL_TRAINING,
    ExpertTraining,
    expert_config,
)
from dam_tf.config.settings import NetworkConfig, replace
from dam_tf.networks.functional import FunctionalNetwork
from dam_tf.networks.trajectories import Experts
from dam_tf.training.experts import train_experts
from tests.tiny_data import make_data, tiny_config


def config_of(name, folder, **changes):
    """Settings of a run, and but for the section evaluation those of its pool.

    The name may be "ncfm learned", for NCFM with the sampler that learns.
    """
    name, *sampler = name.split()
    small = {"network__width": 4, "network__depth": 1, "distillation__iterations": 2}
    small |= {"distillation__learning_rate": 0.1, "distillation__log_every": 1}
    if name == "ncfm":
        small["method__frequencies"] = 16
    if sampler:
        small |= {"method__sampler": "learned", "method__frequencies": 36}
        small["method__sampler_rate"] = 0.01
    given = {"method__name": name, "method__pool": str(folder)}
    return tiny_config(**{**small, **given, **changes})


def trained_pool(folder, norm=None, kept="ends", data=None):
    """Trains two networks for two epochs; returns their folder."""
    config = expert_config(config_of("dance", ""), (), POOL_TRAINING)
    changes = {"evaluation__epochs": 2, "evaluation__learning_rate": 0.1}
    config, data = replace(config, network__norm=norm, **changes), data or make_data()
    train_experts(config, ExpertTraining(2, kept=kept), folder, data=data)
    return folder


def labels_in_numpy(distilled, pool, temperature=1.0):
    """The mean of the softmax of Keras' own model, float64."""
    experts = Experts(pool, NETWORK)
    config = NetworkConfig(**experts.made["network"])
    network = FunctionalNetwork(distilled.image_shape, 3, config)
    images, _ = distilled.to_numpy("network")
    found = np.zeros([len(images), 3])
    for number in range(len(experts)):
        model = network.to_keras(*experts.network(number, experts.epochs))
        logits = np.asarray(model(images, training=False), np.float64) / temperature
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        found += powers / powers.sum(axis=1, keepdims=True)
    return found / len(experts)
