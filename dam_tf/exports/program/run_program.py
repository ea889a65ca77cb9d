"""Distils a data set and tests the result, by a program that dam_tf has compiled.

    python run_program.py --data=cifar10.npz
    python run_program.py --data=pictures --output_dir=out --resume
    python run_program.py --self_test
    python run_program.py --bench=200 --json=speed.jsonl

It needs jax, NumPy and Pillow alone, and lies in the folder of the program. DATA is an
npz file with x_train, y_train, x_test and y_test, or a folder with train/CLASS/*.png
and test/CLASS/*.png. OUTPUT_DIR gets distilled.npz, results.json, losses.csv and
checkpoints.

Exit status: 1 where the self-test fails, 2 where something cannot be used (one line
says what), 130 after Ctrl-C and 143 after SIGTERM.
"""

import pathlib
import sys

if __name__ == "__main__":
    from runner.main import main

    sys.exit(main(sys.argv[1:], __doc__, pathlib.Path(__file__).absolute().parent))
