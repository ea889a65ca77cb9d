"""What many commands refuse, for the tables of what each of them does."""

DATA = ["--dataset=npz:tiny.npz"]  # 3 classes of 9, 12 and 15 images, 8x8
# Where something is not refused, this test shall fail soon.
STEPS = ["--iterations=1", "--batch_real=2", "--set=distillation.jit=none"]
NETWORKS = ["--epochs=1", "--models=1"]
SMALL = [*DATA, *STEPS, *NETWORKS, "--ipc=2", "--overwrite"]
SETTINGS = {  # what every command refuses that takes settings
    "--set=network.widht=3": "(did you mean 'network.width'?)",
    "--set=network": "--set=network must be section.key=value",
    "--ipcc=1": "--help lists what is accepted",
    "more": "unexpected argument 'more'",
}
REAL = {  # and those that load real data
    "--dataset=cifar1O": "'cifar1O' (did you mean 'cifar10'?)",
    "--dataset=npz:missing.npz": "missing.npz",
    "--config=missing.toml": "no such configuration file: missing.toml",
    "--preset=papper": "(did you mean 'paper'?)",
    **SETTINGS,
}
OUTPUT = {
    "--resume --overwrite": "choose one of --resume and --overwrite",
    "--output_dir=letters": "not of a",
    "--output_dir=letters/one.txt": "is a file",
}
NETWORK = {
    "--network=vgg": "(did you mean 'vgg11'?)",
    "--network=vgg11": "vgg11",  # five poolings, of images of 8x8
    "--set=network.depth=9": "depth",
    "--set=network.norm=bacht": "(did you mean 'batch'?)",
}
METHOD = {
    "--method=datadan": "(did you mean 'datadam'?)",
    "--method=cgan": "made by python -m dam_tf generate --model=cgan",
    "--set=method.layers=9": "layers",
    "--set=method.kernel=rbfs": "(did you mean 'rbf'?)",
    "--method=mtt": "follows experts: train some with",
    "--method=tesla --set=method.experts=letters": "no experts in",
    "--method=dance": "matches through trained networks: train",
    "--method=ncfm --set=method.pool=letters": "no networks in",
}
EVALUATION = {
    "--models=0": "evaluation.networks must be at least 1, not 0",
    "--epochs=0": "evaluation.epochs must be at least 1, not 0",
    "--schedule=papr": "(did you mean 'paper'?)",
    "--augmentation=das": "(did you mean 'dsa'?)",
}
TOO_MANY = "ipc 10 is larger than class '0', which has 9 training images"
IPC = "distillation.ipc must be at least 1, not 0"
