"""What `python -m dam_tf <command>` and the files of tools/ do, one file a command.

A command's file opens with the text of its --help, declares its flags in `OPTIONS`, and
has a `main` that reads them. None imports TensorFlow before it has checked what it was
given and said what it will do.
"""

# In the order in which they are listed.
COMMANDS = (
    "distill",
    "evaluate",
    "coreset",
    "generate",
    "experts",
    "pretrain",
    "relabel",
    "export",
    "compile",
    "report",
    "visualize",
    "ablate",
    "continual",
    "nas",
    "attention",
    "cost",
    "benchmark",
    "serve",
    "demo",
)
