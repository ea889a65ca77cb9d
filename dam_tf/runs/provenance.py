"""What made a run: its data, its networks and the software, so that no other goes on.

A run keeps it beside its settings. Resuming and evaluating compare it with what they
are given, and refuse what does not fit.
"""

import contextlib
import dataclasses
import functools
import hashlib
import json
import os
import pathlib
import subprocess
from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import dam_tf
from dam_tf.base.errors import UserError
from dam_tf.base.files import atomic_file
from dam_tf.base.json_lines import parse_json
from dam_tf.base.messages import log, say_once
from dam_tf.config.experts import EXPERT, NETWORK
from dam_tf.config.sections import AugmentationConfig
from dam_tf.config.settings import Config, settings_that_matter
from dam_tf.data.identity import Identity, tell_data, tell_moved
from dam_tf.data.mirrored import warn_of_mirrored
from dam_tf.data.preprocessing.preprocessing import Preprocessing
from dam_tf.data.real_data import RealData
from dam_tf.networks.pools import NetworkPool
from dam_tf.networks.trajectories import Experts
from dam_tf.runs.folder import RunFolder

RANDOM_NETWORKS = "random"


@dataclasses.dataclass(frozen=True)
class Provenance:
    """What made a run.

    Attributes:
        data_name: The data set, as in messages.
        data: The fingerprint of its training images.
        networks: The fingerprint of the pool that was matched through, or of the
            experts that were followed, or `"random"`.
        settings: A fingerprint of the settings that change the result.
        versions: Of `dam_tf`, `tensorflow`, `keras` and `numpy`.
        commit: Of dam_tf, where that is a checkout of git; else empty.
        identity: What the data are, in parts; None for a run that did not keep it.
        reduction: Where the method is smaller than it was published, how.
        extends: The fingerprint of the images that it extends, if it does.
        labels: Which networks gave the soft labels, where a teacher did.
    """

    data_name: str
    data: str
    networks: str
    settings: str
    versions: Mapping[str, str]
    commit: str = ""
    identity: Identity | None = None
    reduction: str = ""
    extends: str = ""
    labels: str = ""

    @classmethod
    def of(
        cls,
        config: Config,
        data: RealData,
        networks: NetworkPool | Experts | None,
        extends: str = "",
    ) -> "Provenance":
        """Returns that of a run of these settings, data and networks, now and here."""
        return cls(
            data.name,
            data.fingerprint,
            RANDOM_NETWORKS if networks is None else networks.fingerprint,
            settings_fingerprint(config),
            versions(),
            commit(),
            Identity.of(data),
            config.method.reduction,
            extends,
        )

    def save(self, path: os.PathLike | str) -> None:
        """Writes it as JSON, atomically."""
        with atomic_file(path) as temporary:
            text = json.dumps(dataclasses.asdict(self), indent=2)
            temporary.write_text(text + "\n", encoding="utf-8")

    def flat(self) -> dict[str, str]:
        """Returns it as texts by name, as a distilled set's metadata hold it."""
        texts = ("data_name", "data", "networks", "settings", "commit")
        found = {**self.versions, **{name: getattr(self, name) for name in texts}}
        names = ("reduction", "extends", "labels")
        more = {name: getattr(self, name) for name in names}
        return {**found, **{name: text for name, text in more.items() if text}}

    def check_resumed(self, folder: pathlib.Path, stored: "Provenance") -> None:
        """Raises a `UserError` where this run is not the one that `stored` is of."""
        check_data(folder, stored, self.data_name, self.data, lambda: self.identity)
        tell_moved(folder, stored.data_name, self.data_name)
        if self.networks != stored.networks:
            raise UserError(
                f"cannot resume {folder}: it was started with "
                f"{_networks(stored.networks)}, not with {_networks(self.networks)}; "
                f"give the same as {_given_as(stored.networks)}"
            )
        if self.extends != stored.extends:
            raise UserError(
                f"cannot resume {folder}: the set that it extends has other images "
                "than at its start; restore that set, or start anew with --overwrite"
            )
        for name, now in self.versions.items():
            before = stored.versions.get(name)
            if now != before:
                raise UserError(
                    f"cannot resume {folder} with {name} {now}: the run was started "
                    f"with {before}, and another version may compute other numbers; "
                    f"install {name} {before}, or start anew with --overwrite"
                )


def check_preprocessing(
    folder: pathlib.Path,
    stored: Preprocessing,
    given: Preprocessing | None,
    doing: str = "resume",
) -> None:
    """Raises a `UserError` where a resumed run is given another preprocessing.

    One that was fitted to the same images on another device differs by rounding.

    Args:
        folder: Of the run.
        stored: The one that it keeps.
        given: The one that it is given now, if any.
        doing: What is done to the run, in messages.
    """
    if given is None:
        return
    one, other = (
        (layer.kind, layer.eps, tuple(layer.image_shape)) for layer in (stored, given)
    )
    pairs = zip(stored.get_weights(), given.get_weights(), strict=False)
    if one != other or not all(
        a.shape == b.shape and np.allclose(a, b, rtol=0.01, atol=0.01) for a, b in pairs
    ):
        raise UserError(
            f"cannot {doing} {folder} with another preprocessing than its own, which "
            f"lies there ({stored.kind}); leave preprocessing out, or give the same"
        )


def read_provenance(path: os.PathLike | str) -> Provenance:
    """Returns what `Provenance.save` wrote.

    Raises:
        UserError: the file is missing, or is damaged.
    """
    path = pathlib.Path(path)
    try:
        return _checked(parse_json(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise UserError(
            f"{path.parent} does not say what made it ({path.name} is missing), as "
            "runs of dam_tf 0.1 did not; start anew with --overwrite"
        ) from None
    except (OSError, ValueError, TypeError) as error:
        raise UserError(
            f"{path} is damaged ({error}); restore it, or start anew with --overwrite"
        ) from None


def _checked(values: Any) -> Provenance:
    """Returns what JSON holds; raises ValueError or TypeError where that is damaged."""
    if not isinstance(values, dict):
        raise ValueError("it is no table")
    if (identity := values.get("identity")) is not None:
        values = {**values, "identity": Identity.from_dict(identity)}
    made = Provenance(**values)
    texts = [
        getattr(made, field.name)
        for field in dataclasses.fields(made)
        if field.type is str
    ]
    if not isinstance(made.versions, dict):
        raise ValueError(f"its 'versions' are {made.versions!r}")
    if not all(isinstance(text, str) for text in (*texts, *made.versions.values())):
        raise ValueError("it holds something that is no text")
    return made


def check_data(
    folder: pathlib.Path,
    stored: Provenance,
    name: str,
    fingerprint: str,
    identity: Callable[[], Identity],
) -> None:
    """Raises a `UserError` where a run was not made of these data.

    Args:
        folder: Of the run.
        stored: What made it.
        name: Of the data now.
        fingerprint: Of the training images now.
        identity: Finds what the data are now, in parts.
    """
    if fingerprint == stored.data:
        return
    found = ""
    if stored.identity is not None:
        found = stored.identity.differences(identity())
    found = found or (
        f"the training images of {stored.data_name!r} then had the fingerprint "
        f"{stored.data[:12]}, now it is {fingerprint[:12]}"
    )
    raise UserError(
        f"{folder} was made of other images than those of {name!r} now: {found}; give "
        "the same data"
    )


def check_run_data(run: RunFolder, data: RealData) -> None:
    """Raises a `UserError` where the run in a folder was not made of `data`.

    A run of dam_tf 0.1 does not say of what, and passes. Where the settings are no
    longer those that the run was made with, that is said.

    Args:
        run: It may be that of a coreset.
        data: What networks are about to be tested on.
    """
    if run.provenance.exists():
        stored = read_provenance(run.provenance)
        identity = functools.partial(Identity.of, data)
        check_data(run.path, stored, data.name, data.fingerprint, identity)
        if stored.settings != settings_fingerprint(run.settings()):
            log.warning(
                "%s was changed after the run, or is that of another: what it says is "
                "not what the run was made with.",
                run.config,
            )


def settings_fingerprint(config: Config) -> str:
    """Returns 32 hexadecimal digits that tell the settings that change a result."""
    settings = json.dumps(settings_that_matter(config), sort_keys=True)
    return hashlib.sha256(settings.encode()).hexdigest()[:32]


def versions() -> dict[str, str]:
    """Returns the versions of what computes.

    Example:
        >>> sorted(versions())
        ['dam_tf', 'keras', 'numpy', 'tensorflow']
    """
    return {
        "dam_tf": dam_tf.__version__,
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
        "numpy": np.__version__,
    }


@functools.cache
def commit() -> str:
    """Returns the commit of dam_tf, `-dirty` if files differ; empty outside of git."""
    root = pathlib.Path(dam_tf.__file__).resolve().parents[1]
    if not (root / ".git").exists():
        return ""
    command = ["git", "--no-optional-locks", "-C", str(root), "describe", "--always"]
    command += ["--dirty", "--exclude=*", "--abbrev=12"]
    with contextlib.suppress(OSError, subprocess.SubprocessError, UnicodeError):
        found = subprocess.run(command, capture_output=True, text=True, timeout=2)
        return found.stdout.strip() if found.returncode == 0 else ""
    return ""


def made_by(versions: Mapping[str, str], commit: str) -> str:
    """Returns versions and commit, as of a `Provenance`, in words.

    Example:
        >>> made_by({"dam_tf": "0.2.0", "keras": "3.12.0"}, "62631f0")
        'dam_tf 0.2.0 (commit 62631f0), keras 3.12.0'
    """
    texts = {name: f"{name} {version}" for name, version in versions.items()}
    if commit and "dam_tf" in texts:
        texts["dam_tf"] += f" (commit {commit})"
    return ", ".join(texts.values())


def tell_start(data: RealData, flipped: AugmentationConfig | None = None) -> None:
    """Says, once, what works on which data: at the start of a run or a test.

    Args:
        data: The real data.
        flipped: How they will be varied, for a warning where flips make classes alike.
    """
    say_once(made_by(versions(), commit()))
    tell_data(data)
    if flipped is not None:
        warn_of_mirrored(data.train, data.class_names, flipped)


def _networks(fingerprint: str) -> str:
    if fingerprint == RANDOM_NETWORKS:
        return "random networks"
    for role in (EXPERT, NETWORK):
        if fingerprint.startswith(f"{role.word}s "):
            return f"the {fingerprint[: len(role.word) + 14]}"
    return f"the pool of networks {fingerprint[:12]}"


def _given_as(fingerprint: str) -> str:
    for role in (EXPERT, NETWORK):
        if fingerprint.startswith(f"{role.word}s "):
            return role.setting
    return "networks="
