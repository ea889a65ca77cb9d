"""`python -m dam_tf <command>`: the tools, for those who installed the package."""

from dam_tf.commands import program

if __name__ == "__main__":
    program.main()
