"""`python -m jbatch` is `jbatch`."""

from jbatch.cli import command_line

if __name__ == "__main__":
    command_line()
