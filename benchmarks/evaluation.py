"""Images a second at which evaluation networks train, beside a PyTorch loop.

    python benchmarks/evaluation.py
    python benchmarks/evaluation.py --images=100 --turns=9
    python benchmarks/evaluation.py --norms=instance,batch

Both train the networks of the settings on a set in memory: SGD with momentum and an L2
penalty, DSA with one operation for each batch and its strengths for each image. They
take turns in one run. Both also train without augmentation, which says its share of
the time. Images of all networks that train at the same time count.
"""

import statistics
import sys

import _machine
import _tools
from _contender import KEEP_MEMORY, Contender, ContenderError
from absl import flags

from dam_tf.base.json_lines import append_json
from dam_tf.config.settings import default_depth, read_config

_IMAGES = flags.DEFINE_list("images", ["10", "100", "500"], "Sizes of the sets.")
_SIZE = flags.DEFINE_integer("image_size", 32, "Height and width.", lower_bound=4)
_TURNS = flags.DEFINE_integer("turns", 5, "Turns that are timed.", lower_bound=1)
_SEEN = flags.DEFINE_integer(
    "images_a_turn", 600, "Images that a network sees in a turn.", lower_bound=1
)
_NORMS = flags.DEFINE_list(
    "norms",
    None,
    "Norms of our networks, side by side; that of the settings if left out.",
)
_TORCH_PYTHON = _tools.define_torch_python()
_SET = flags.DEFINE_multi_string("set", [], "A setting, as section.key=value.")
_JSON = flags.DEFINE_string("json", None, "Append each result to this file.")

_LAYOUTS = ("nchw", "nchw+kept", "channels_last", "channels_last+kept")


def main() -> None:
    given = _tools.overrides(_SET.value)
    config = read_config(overrides=given)
    sizes = _tools.numbers(_IMAGES)
    python = _tools.torch_python(_TORCH_PYTHON.value)
    print(f"{_machine.describe()}\n", flush=True)
    print(
        "| images | training | images/s, median | min to max | it / PyTorch's best "
        "| augmentation's share |\n|---|---|---|---|---|---|"
    )
    for count in sizes:
        common = {
            "images": count,
            "image_size": _SIZE.value,
            "epochs": max(1, _SEEN.value // count),
        }
        script = _tools.BENCHMARKS / "tf_evaluation.py"
        contenders = {}
        for norm in _NORMS.value or [None]:
            overrides = {**given, "network.norm": norm} if norm else given
            contenders[f"dam_tf, {norm} norm" if norm else "dam_tf"] = Contender(
                sys.executable, script, {**common, "overrides": overrides}
            )
        for way in _LAYOUTS if python else ():
            layout, *kept = way.split("+")
            settings = {
                **common,
                "layout": layout,
                "width": config.network.width,
                "depth": config.network.depth or default_depth(2 * [_SIZE.value]),
                "batch_size": config.evaluation.batch_size,
                "learning_rate": config.evaluation.learning_rate,
                "momentum": config.evaluation.momentum,
                "weight_decay": config.evaluation.weight_decay,
            }
            script = _tools.BENCHMARKS / "torch_evaluation.py"
            environment = KEEP_MEMORY if kept else {}
            contenders[f"PyTorch {way}"] = Contender(
                python, script, settings, environment
            )
        _report(count, _race(contenders))


def _race(contenders: dict[str, Contender]) -> dict[str, dict]:
    results = {name: {"dsa": [], "none": []} for name in contenders}
    try:
        for turn in range(1 + _TURNS.value):
            for name, contender in contenders.items():
                _tools.say(f"turn {turn} of {name}")
                for augmentation in ("dsa", "none"):
                    if "failed" in results[name]:
                        continue
                    try:
                        answer = contender.ask("train", augmentation=augmentation)
                    except ContenderError as error:
                        results[name]["failed"] = str(error)
                        continue
                    if turn:  # the first may compile
                        rate = answer["images"] / answer["seconds"]
                        results[name][augmentation].append(rate)
    finally:
        for contender in contenders.values():
            contender.close()
        _tools.say("")
    return results


def _report(count: int, results: dict[str, dict]) -> None:
    medians = {
        name: statistics.median(result["dsa"])
        for name, result in results.items()
        if "failed" not in result
    }
    peers = [rate for name, rate in medians.items() if name.startswith("PyTorch")]
    for name, result in results.items():
        if name not in medians:
            print(f"| {count} | {name} | {result['failed']} | | | |")
            continue
        rate, rates = medians[name], result["dsa"]
        share = 1 - rate / statistics.median(result["none"])
        ratio = f"{rate / max(peers):.2f}" if peers else "-"
        print(
            f"| {count} | {name} | {rate:.0f} | {min(rates):.0f} to {max(rates):.0f} "
            f"| {ratio} | {100 * share:.0f} % |",
            flush=True,
        )
        if _JSON.value:
            line = {
                "images": count,
                "training": name,
                "images_per_second": rate,
                "rates": rates,
                "rates_without_augmentation": result["none"],
                "augmentation_share": share,
                "machine": _machine.describe(),
            }
            append_json(_JSON.value, line)


if __name__ == "__main__":
    _tools.run(main)
