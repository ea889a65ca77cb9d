#!/bin/sh
# Measures dam_tf's programs beside PyTorch on one accelerator, in a few minutes.
#
#   benchmarks/accelerator.sh prepare CIFAR10_ARCHIVE FOLDER
#   benchmarks/accelerator.sh run FOLDER OUT --minutes=8
#
# `prepare` compiles the programs, here, with TensorFlow (source .venv/bin/activate).
# `run` needs JAX, NumPy and Pillow, and PyTorch to compare with: no TensorFlow, no
# network. PYTHON names another Python. --help says more.
exec "${PYTHON:-python3}" "$(dirname "$0")/_accelerator.py" "$@"
