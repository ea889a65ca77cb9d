r"""Measures the attention loss against its noise, before and after distillation.

    python -m dam_tf attention --dataset=cifar10 --ipc=1,10 --networks=5 \
        --distilled=runs/datadam,runs/dm --output_dir=runs/attention

A minute or two on two cores, on digits that ship inside scikit-learn:

    python -m dam_tf attention --dataset=digits --ipc=1,10 --batch_real=16,64 \
        --networks=3 --set=network.width=32

Through --networks random networks of each norm it takes two batches of real images
without a common image, and measures the losses of DataDAM between them: SAM (equation
2), for each p and each block, and MMD (equation 3). This is the noise floor. A loss
that is near it has little left to teach. Then it measures the same losses, and the
gradients of both in the images, for real images as distillation starts from them
(--init, --ipc) and for sets that are distilled already (--distilled).

--output_dir gets table.md, results.jsonl, figure.png, settings.json and trials.jsonl
(every measurement). What was stopped continues with --resume, which may also add
networks, norms, batches and sets.
"""

from dam_tf.base.files import file_name
from dam_tf.base.trials import check_folder
from dam_tf.commands import program
from dam_tf.commands.options import DATA, Options, numbers
from dam_tf.runs.folder import find_runs
from dam_tf.studies.attention.settings import INITS, AttentionConfig, powers_of

OPTIONS = Options(*DATA, "preset", "network", "seed")
_DEFAULTS = AttentionConfig()
OPTIONS.items("powers", "1,2,4", "Values of p, of equation 1.")
OPTIONS.items("norms", list(_DEFAULTS.norms), "Of the networks: network.norm.")
OPTIONS.items("batch_real", "64,256", "Real images of each class in a batch.")
OPTIONS.items(
    "init",
    list(_DEFAULTS.inits),
    f"Which initial images are measured; of: {', '.join(INITS)}.",
)
OPTIONS.items("ipc", "1", "Images per class of the initial images.")
OPTIONS.items("distilled", [], "Folders of runs whose sets are measured.", paths=True)
OPTIONS.integer("networks", _DEFAULTS.networks, "Random networks of each norm.")
OPTIONS.define_config()
OPTIONS.define_output("study", "runs/<dataset>_attention")


def main() -> None:
    config = OPTIONS.config()
    study = AttentionConfig(
        powers_of(OPTIONS["powers"]),
        tuple(OPTIONS["norms"]),
        tuple(numbers("batch_real", OPTIONS["batch_real"], minimum=1)),
        tuple(OPTIONS["init"]),
        tuple(numbers("ipc", OPTIONS["ipc"], minimum=1)),
        OPTIONS["networks"],
    )
    settings = study.settings(config)
    runs = find_runs(OPTIONS["distilled"]) if OPTIONS["distilled"] else {}
    output_dir = OPTIONS.output_dir(f"runs/{file_name(config.dataset.name)}_attention")
    check_folder(output_dir, settings, OPTIONS["resume"], OPTIONS["overwrite"])
    sets = [f"{init} ({ipc} a class)" for init, ipc in study.chosen()]
    print(
        f"Measuring SAM for p = {', '.join(f'{p:g}' for p in study.powers)}, and MMD, "
        f"on {config.dataset.name} with {', '.join(map(str, study.batches))} real "
        f"images per class, through {study.networks} x {config.network.name} of width "
        f"{config.network.width} with norm {', '.join(study.norms)}: the noise floor, "
        f"{', '.join([*sets, *runs])}, into {output_dir}",
        flush=True,
    )

    program.import_tensorflow()
    from dam_tf.studies.attention import report
    from dam_tf.studies.attention.study import measure_attention
    from dam_tf.synthetic.distilled_set import DistilledSet

    lines = measure_attention(
        config,
        study,
        output_dir,
        {name: DistilledSet.load(run.path) for name, run in runs.items()},
        OPTIONS["resume"],
        OPTIONS["overwrite"],
    )
    print(report.table(lines), end="")
    print(f"Figure: {output_dir / report.FIGURE}; {output_dir / report.RESULTS}")
