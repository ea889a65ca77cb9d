"""Measures what a step of distillation costs: time and peak memory (Table 4).

    python -m dam_tf cost --dataset=cifar10 --method=datadam,dm --ipc=1,10,50

Half a minute on two cores, on digits that ship inside scikit-learn:

    python -m dam_tf cost --dataset=digits --method=datadam,dm --ipc=1,10 \\
        --iterations=20 --batch_real=32 --set=network.width=32

--method=methods measures all; those that need trained networks are told which by a file
of --plan, such as: [mtt] method.experts = "runs/cifar10_experts" (docs/benchmark.md).

Each method and number of images has a process of its own, in which the compiled step
of distillation runs --iterations times after three to warm up. Memory is the peak of
the GPU or, where there is none, of the process, during those iterations.

--output_dir gets results.jsonl (with the settings), cost.png and trials.jsonl; what
was stopped continues with --resume. Let nothing else run meanwhile.
"""

from dam_tf.base.errors import check_each_once
from dam_tf.base.files import file_name
from dam_tf.base.trials import check_folder
from dam_tf.commands import program
from dam_tf.commands.options import DATA, Options, numbers
from dam_tf.config.methods import METHODS
from dam_tf.studies.cost import report as cost
from dam_tf.studies.rows import Base, check_base, find_rows

OPTIONS = Options(*DATA, "preset", "network", "init", "batch_real", "seed")
OPTIONS.items("method", "datadam,dm", f"methods for all, or of: {', '.join(METHODS)}.")
OPTIONS.text("plan", None, "TOML file with settings of single methods.")
OPTIONS.items("ipc", "1,10,50", "Synthetic images per class.")
OPTIONS.integer("iterations", 100, "Steps that are averaged over.")
OPTIONS.define_config()
OPTIONS.define_output("report", "runs/<dataset>_cost")


def main() -> None:
    config = OPTIONS.config()
    ipcs = numbers("ipc", OPTIONS["ipc"] or [""], minimum=1)
    check_each_once("--method", OPTIONS["method"])
    rows = find_rows(OPTIONS["method"], plan=OPTIONS["plan"])
    cost.check_methods(rows)
    check_base(OPTIONS.overrides())
    output_dir = OPTIONS.output_dir(f"runs/{file_name(config.dataset.name)}_cost")
    settings = cost.report_settings(config, OPTIONS["iterations"])
    check_folder(output_dir, settings, OPTIONS["resume"], OPTIONS["overwrite"])
    print(
        f"Measuring a step on {config.dataset.name}, {config.distillation.batch_real} "
        f"real images per class, through {config.network.name} of width "
        f"{config.network.width}: {', '.join(row.name for row in rows)} with "
        f"{', '.join(map(str, ipcs))} images per class, {OPTIONS['iterations']} "
        f"iterations each, into {output_dir}",
        flush=True,
    )
    program.set_environment()
    results = cost.cost_report(
        rows,
        Base(OPTIONS["config"], OPTIONS.overrides()),
        ipcs,
        output_dir,
        OPTIONS["iterations"],
        OPTIONS["resume"],
        OPTIONS["overwrite"],
    )
    for device in dict.fromkeys(r["device"] for r in results if "device" in r):
        print(f"Device: {device}")
    print(cost.table(results))
    print(f"Chart: {output_dir / cost.FIGURE}; {output_dir / cost.RESULTS}")
