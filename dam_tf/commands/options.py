"""The flags of a command, and the settings that they make.

A flag that stands for a setting takes its words from the setting's own declaration
(`config/sections.py`), so that nothing is described twice.
"""

import dataclasses
import functools
import pathlib
import re
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from absl import flags

from dam_tf.base.errors import UserError, check_text, choice_error
from dam_tf.commands.lists import ListParser
from dam_tf.config.generators import GENERATORS
from dam_tf.config.image_counts import listed
from dam_tf.config.methods import METHODS
from dam_tf.config.places import default_folder
from dam_tf.config.presets import BEST, make_config
from dam_tf.config.settings import PRESETS, Config
from dam_tf.data.catalog import CATALOG, lookup

# The settings that have flags of their own; all others are reached by --set.
_SETTINGS = {
    "dataset": "dataset.name",
    "data_dir": "dataset.data_dir",
    "image_size": "dataset.image_size",
    "max_classes": "dataset.max_classes",
    "preset": "preset",
    "ipc": "distillation.ipc",
    "images_per_class": "distillation.images_per_class",
    "method": "method.name",
    "model": "method.name",
    "network": "network.name",
    "init": "distillation.init",
    "extends": "distillation.extends",
    "iterations": "distillation.iterations",
    "batch_real": "distillation.batch_real",
    "classes_per_step": "distillation.classes_per_step",
    "precision": "distillation.precision",
    "seed": "distillation.seed",
    "checkpoint_every": "distillation.checkpoint_every",
    "snapshot_every": "distillation.snapshot_every",
    "models": "evaluation.networks",
    "epochs": "evaluation.epochs",
    "schedule": "evaluation.schedule",
    "augmentation": "evaluation.augmentation",
}
# Of choosing a coreset, where two of these names mean something else.
_SELECTION = {
    "method": "selection.method",
    "space": "selection.space",
    "epochs": "selection.epochs",
}
# Of flags that stand for less than their setting does.
_MEANINGS = {"model": f"Which generator is trained; one of: {', '.join(GENERATORS)}."}
OF_IMAGES = ("distillation.ipc", "distillation.images_per_class")
DATA = ("dataset", "data_dir", "image_size", "max_classes")
EVALUATION = ("models", "epochs", "schedule", "augmentation")
_NAMES = {
    "dataset.name": CATALOG,
    "preset": PRESETS,
    "method.name": METHODS,
}  # what a setting may be called

RUN_FOLDER = "runs/<dataset>_ipc<k>_{}_seed<s>"  # where a command writes if not told


class Options:
    """The flags of one command; each is declared once, here or by the command.

    Args:
        *settings: Names of flags that stand for settings.
        selection: Names of flags that stand for settings of choosing a coreset.
        takes_words: Whether the command takes words, such as folders, beside flags.

    Attributes:
        words: The arguments that were no flags.

    Example:
        >>> options = Options("ipc")
        >>> options.define_config()
        >>> options.parse(["--ipc=3"])
        >>> options.config().distillation.ipc
        3
    """

    def __init__(
        self, *settings: str, selection: Sequence[str] = (), takes_words: bool = False
    ):
        self.words: list[str] = []
        self._values = flags.FlagValues()
        self._values.set_gnu_getopt()  # flags may follow the words
        self._home = {"flag_values": self._values, "module_name": "Flags"}
        self._takes_words = takes_words
        self._keys = {name: _SETTINGS[name] for name in settings}
        self._keys |= {name: _SELECTION[name] for name in selection}
        for name, key in self._keys.items():
            self.text(name, None, _MEANINGS.get(name) or _meaning(key))
        if self._keys:
            text = "Any other setting, as section.key=value; may be repeated."
            self._define(flags.DEFINE_multi_string, "set", [], text)

    def text(self, name: str, default: str | None, meaning: str) -> None:
        """Declares a flag that is a text."""
        self._define(flags.DEFINE_string, name, default, meaning)

    def choice(self, name: str, values: Sequence[str], meaning: str) -> None:
        """Declares a flag that is one of `values`; the first is the default."""
        flags.DEFINE_enum(name, values[0], values, meaning, **self._home)

    def items(
        self,
        name: str,
        default: str | list | None,
        meaning: str,
        paths: bool = False,
    ) -> None:
        """Declares a flag that is a list, with commas.

        Args:
            name: Of the flag.
            default: As on the command line, or nothing.
            meaning: For the help.
            paths: Whether the items are files and folders (`ListParser`).
        """
        kind = functools.partial(flags.DEFINE, ListParser(paths))
        written = flags.CsvListSerializer(",")
        self._define(kind, name, default, meaning, serializer=written)

    def switch(self, name: str, default: bool, meaning: str) -> None:
        """Declares a flag that is on or, with `no` before its name, off."""
        self._define(flags.DEFINE_bool, name, default, meaning)

    def integer(
        self, name: str, default: int | None, meaning: str, minimum: int | None = 1
    ) -> None:
        """Declares a flag that is a whole number."""
        self._define(flags.DEFINE_integer, name, default, meaning, lower_bound=minimum)

    def number(self, name: str, default: float, meaning: str, minimum: float) -> None:
        """Declares a flag that is a number."""
        self._define(flags.DEFINE_float, name, default, meaning, lower_bound=minimum)

    def _define(
        self, kind: Callable, name: str, default: Any, meaning: str, **checks: Any
    ) -> None:
        kind(name, default, meaning, **checks, **self._home)

    def define_config(self, meaning: str = "") -> None:
        """Declares --config."""
        text = meaning or "TOML file of settings. Default: configs/<dataset>.toml."
        self.text("config", None, text)

    def define_output(
        self, what: str, default: str, resume: bool = True, overwrite: bool = True
    ) -> None:
        """Declares --output_dir, --resume and --overwrite.

        Args:
            what: Lies in the folder, as "run".
            default: The folder where none is given, in words.
            resume: Whether what was stopped can be continued.
            overwrite: Whether what lies there can be replaced.
        """
        text = f"Folder of the {what}. Default: {default}."
        self.text("output_dir", None, text)
        if resume:
            text = f"Continue the {what} in --output_dir."
            self.switch("resume", False, text)
        if overwrite:
            text = f"Replace the {what} in --output_dir."
            self.switch("overwrite", False, text)

    def alias(self, name: str, flag: str) -> None:
        """Declares an older name of a flag."""
        flags.DEFINE_alias(name, flag, **self._home)

    def parse(self, words: Sequence[str]) -> None:
        """Reads the arguments of a command, and forgets those of an earlier call.

        Raises:
            UserError: a flag is unknown or has a wrong value, or a word is unexpected.
        """
        for name in self._values:
            self._values[name].unparse()
        for word in words:
            check_text(f"{word!r}", word)
        try:
            _, *self.words = self._values(["command", *words])
        except flags.Error as error:
            text = str(error).splitlines()[0].rstrip(".")
            raise UserError(f"{text}; --help lists what is accepted") from None
        if self.words and not self._takes_words:
            raise UserError(
                f"unexpected argument {self.words[0]!r}; flags start with --"
            )

    def help(self) -> str:
        """Returns what is said of each flag."""
        return self._values.get_help().partition("\nabsl.flags:")[0].strip("\n")

    def __getitem__(self, name: str) -> Any:
        """The value of a flag."""
        return self._values[name].value

    def given(self) -> list[str]:
        """Returns the names of the flags that were given."""
        return [name for name in self._values if self._values[name].present]

    def overrides(self) -> Mapping[str, str]:
        """Returns the settings that flags were given for, by dotted key."""
        given = {
            key: self[name]
            for name, key in self._keys.items()
            if self[name] is not None
        }
        return given | parse_overrides(self["set"])

    def config(self) -> Config:
        """Returns the settings of --config, or of the data set's own, under the flags.

        Raises:
            UserError: the data set is unknown, or a setting is.
        """
        config = make_config(self["config"], self.overrides())
        lookup(config.dataset.name)
        return config

    def output_dir(self, default: str) -> pathlib.Path:
        """Returns the folder to write to; `default` where none was given."""
        return pathlib.Path(self["output_dir"] or default)


@dataclasses.dataclass(frozen=True)
class Action:
    """One of the things that a command does, chosen by the word after its name.

    Attributes:
        main: Does it.
        flags: What it takes; others of the command's are refused.
    """

    main: Callable[[], None]
    flags: Sequence[str]


def run_action(options: Options, actions: Mapping[str, Action]) -> None:
    """Runs that of `actions` which the first of the words names."""
    if not options.words:
        raise UserError(f"say what to do; one of: {', '.join(actions)}")
    name, *more = options.words
    if name not in actions:
        raise choice_error("command", name, actions)
    if more:
        raise UserError(f"unexpected argument {more[0]!r}; flags start with --")
    for flag in options.given():
        if flag not in actions[name].flags:
            raise UserError(
                f"--{flag} is not for {name}, which takes "
                f"{', '.join(f'--{one}' for one in actions[name].flags) or 'no flags'}"
            )
    actions[name].main()


def parse_overrides(texts: Sequence[str]) -> dict[str, str]:
    """Returns settings that are written as section.key=value, by key.

    Example:
        >>> parse_overrides(["network.width=32"])
        {'network.width': '32'}
    """
    given = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals:
            raise UserError(f"--set={text} must be section.key=value")
        given[key.strip()] = value.strip()
    return given


def run_folder(config: Config, method: str) -> str:
    """Returns where a run of `config` by `method` lies if no folder is given."""
    settings = config.distillation
    kind = "" if settings.images_per_class is None else "_proportional"
    kind = kind if listed(settings.images_per_class) is None else "_listed"
    what = f"ipc{settings.ipc}{kind}_{method}_seed{settings.seed}"
    return default_folder(config, what)


def numbers(flag: str, texts: Sequence[str], minimum: int) -> list[int]:
    """Returns the whole numbers that a list flag was given, each once.

    Raises:
        UserError: they are no whole numbers, too small, or one is there twice.

    Example:
        >>> numbers("ipc", ["1", "10"], minimum=1)
        [1, 10]
    """
    found = [int(text) for text in texts if re.fullmatch(r"-?\d+", text)]
    if len(set(found)) < len(texts) or min(found, default=minimum) < minimum:
        raise UserError(
            f"--{flag}={','.join(texts)} must be different whole numbers, at least "
            f"{minimum}"
        )
    return found


def choices(key: str) -> tuple[str, ...]:
    """Returns what a setting may be called; nothing where it is no such text.

    Example:
        >>> choices("selection.space")
        ('pixels', 'random', 'trained')
    """
    return tuple(_NAMES.get(key, _field(key).metadata["choices"]))


def _meaning(key: str) -> str:
    """Returns what a setting means, and what it may be, in a sentence."""
    text, known = _field(key).metadata["description"], choices(key)
    names = f"; one of: {', '.join(known)}" if known else ""
    more = f" Or {BEST}: what measured best for the data set and ipc."
    more = more if key == "method.name" else ""
    return f"{text[0].upper()}{text[1:]}{names}.{more}"


def _field(key: str) -> dataclasses.Field:
    section, _, name = key.rpartition(".")
    schema = typing.get_type_hints(Config)[section] if section else Config
    (field,) = (one for one in dataclasses.fields(schema) if one.name == name)
    return field
