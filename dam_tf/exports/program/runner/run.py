"""A run of a program: iterations, checkpoints, the set, and networks trained on it."""

import json
import pathlib
import shutil
import time
from typing import Any, BinaryIO

import numpy as np

from .device import Machine, inverse
from .files import WRITTEN, Bar, Refused, read_npz, reason, say, write

_CALL_SECONDS = 2.0  # of work, for which Ctrl-C waits
_KEPT = 2  # checkpoints
_PREPROCESSING = ("mean", "deviation", "zca_mean", "whitening", "unwhitening")


class Run:
    """Iterates, and keeps state and losses in the checkpoints of a folder.

    Args:
        machine: Has the training images.
        folder: Of the results.
        identity: What a run that goes on must have in common with the one before.

    Attributes:
        iteration: Updates done.
        seconds: Of one iteration, for each call of this process.
    """

    def __init__(self, machine: Machine, folder: pathlib.Path, identity: dict):
        self.machine, self.folder = machine, folder
        self._identity, self._checkpoints = identity, folder / "checkpoints"
        self.iteration, self.seconds, self._saved = 0, [], None
        self._names = machine.program.about["losses"]
        self._losses = np.zeros([0, len(self._names)], np.float32)

    def resume(self) -> bool:
        """Takes the newest state that can be read; returns whether there is one."""
        for path in self._files():
            try:
                arrays = read_npz(path)
                before = json.loads(str(arrays["identity"]))
                state, losses = self._state_of(arrays), arrays["losses"]
            except (Refused, LookupError, ValueError, TypeError) as error:
                say(f"{path} is passed over, since it is damaged: {reason(error)}")
                continue
            for name, now in self._identity.items():
                if before.get(name) != now:
                    raise Refused(
                        f"cannot resume {self.folder} with {name} {now}: it was begun "
                        f"with {before.get(name)}; choose another --output_dir"
                    )
            self.machine.put(state)
            self.iteration = self._saved = int(state["iteration"])
            self._losses = losses
            say(f"Going on from iteration {self.iteration:,}.")
            return True
        say(f"{self.folder} has no checkpoint to go on from: the run starts anew.")
        return False

    def _state_of(self, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        state = {}
        for name, (shape, kind) in self.machine.program.state.items():
            state[name] = arrays[name].view(np.dtype(kind))  # bfloat16 is kept as bytes
            if state[name].shape != shape:
                raise ValueError(f"its {name} is {state[name].shape}, not {shape}")
        return state

    def clear(self) -> None:
        """Removes what another run has written here."""
        for name in WRITTEN:
            if (path := self.folder / name).is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)

    def save(self) -> None:
        """Writes a checkpoint, and removes all but the newest."""
        arrays = {one: self.machine.numbers(one) for one in self.machine.program.state}
        if not np.isfinite(arrays.get("images", 0)).all():
            raise Refused(f"the images became infinite or not a number; {self._kept()}")
        arrays["losses"] = self._losses
        arrays["identity"] = np.array(json.dumps(self._identity))
        path = self._checkpoints / f"iteration-{self.iteration:08}.npz"
        write(path, lambda file: np.savez(file, **arrays))
        self._saved = self.iteration
        for old in self._files()[_KEPT:]:
            old.unlink(missing_ok=True)

    def _files(self) -> list[pathlib.Path]:
        return sorted(self._checkpoints.glob("iteration-*.npz"), reverse=True)

    def _kept(self) -> str:
        kept = f"the checkpoint of iteration {self._saved} is kept"
        kept = "no checkpoint was saved" if self._saved is None else kept
        return f"{kept}. Compile with a smaller distillation.learning_rate"

    def distill(self, last: int, every: int | None, signals: Any) -> None:
        """Iterates to `last`, or until `signals.number` is not 0, and saves.

        Args:
            last: Iterations of the whole run.
            every: How many lie between checkpoints; None to write nothing.
            signals: Of the command.
        """
        machine, many = self.machine, 1
        most = machine.program.about["iterations_per_call"]
        bar = Bar("Distilling:", self.iteration, last)
        while self.iteration < last and not signals.number:
            count = min(many, last - self.iteration)
            if every:
                count = min(count, every - self.iteration % every)
            start = time.perf_counter()
            machine.put({"count": np.int32(count)})
            machine.call("distill")
            losses = machine.numbers("losses")[:count]
            self.seconds.append((time.perf_counter() - start) / count)
            self._check(losses)
            self.iteration += count
            self._losses = np.concatenate([self._losses, losses])
            if every and self.iteration % every == 0:
                self.save()
            means = zip(self._names, losses.mean(axis=0), strict=True)
            bar.show(self.iteration, "".join(f", {n} {x:.4g}" for n, x in means))
            many = _next_count(many, self.seconds[-1], most)
        if every and self._saved != self.iteration:
            self.save()

    def _check(self, losses: np.ndarray) -> None:
        bad = np.argwhere(~np.isfinite(losses))
        if len(bad):
            row, column = bad[0]
            name, at = self._names[column], self.iteration + row + 1
            text = f"{name} became {losses[row, column]} at iteration {at}"
            raise Refused(f"{text}; {self._kept()}")

    def write_losses(self, file: BinaryIO) -> None:
        """Writes the losses of all iterations, one a line."""
        head = ",".join(self._names)
        np.savetxt(file, self._losses, "%.7g", ",", header=head, comments="")

    def last_losses(self) -> dict[str, float]:
        """Returns the mean of each loss over the last tenth of the iterations."""
        some = self._losses[-max(1, len(self._losses) // 10) :]
        return dict(zip(self._names, some.mean(axis=0).tolist(), strict=True))


def evaluate(machine: Machine, labels: np.ndarray) -> list[float]:
    """Trains networks on the set of `distilled_arrays`, and tests them.

    Args:
        machine: Has the test images.
        labels: Of these.

    Returns:
        The accuracy of each network after its last epoch, 0 to 1.
    """
    done, last, many = 0, machine.program.about["epochs"], 1
    machine.put_zeros("evaluate")
    bar = Bar("Training networks, epochs:", done, last)
    while done < last:
        goal, start = min(done + many, last), time.perf_counter()
        machine.put({"first": np.int32(done), "last": np.int32(goal)})
        machine.call("evaluate")
        many = _next_count(many, (time.perf_counter() - start) / (goal - done), last)
        done = goal
        bar.show(done)
    return (machine.numbers("predictions") == labels).mean(axis=1).tolist()


def _next_count(count: int, seconds: float, most: int) -> int:
    """Returns how many steps the next call has, after `count` of `seconds` each."""
    return max(1, min(2 * count, most, int(_CALL_SECONDS / seconds)))


def distilled_arrays(machine: Machine, made: dict[str, str]) -> dict[str, np.ndarray]:
    """Returns what distilled.npz holds, as dam_tf itself writes it, by name.

    Args:
        machine: Has the state.
        made: What made the set, for its provenance.
    """
    machine.call("pixels")
    program, constants = machine.program, machine.program.constants
    arrays = {
        "images": machine.numbers("pixels"),
        "model_images": machine.numbers("set/images"),
        "labels": np.array(program.about["labels"], np.int64),
        "class_names": np.array(program.classes),
        "formation": np.array(program.about["formation"]),
        "provenance": np.array(json.dumps(made)),
    }
    for name in {"stored", "soft_labels"} & program.gives["pixels"].keys():
        arrays[name] = machine.numbers(name)
    parts = {name: constants[name] for name in _PREPROCESSING if name in constants}
    for here, there in (("whitening", "unwhitening"), ("unwhitening", "whitening")):
        if here in parts and there not in parts:
            parts[there] = inverse(parts[here])
    kinds = ["standardize"] * ("mean" in parts) + ["zca"] * ("zca_mean" in parts)
    parts["kind"] = np.array("_".join(kinds) or "none")
    parts["eps"] = constants.get("eps", np.array(0.1))
    parts["image_shape"] = np.array(program.shape)
    return arrays | {f"preprocessing_{name}": one for name, one in parts.items()}
