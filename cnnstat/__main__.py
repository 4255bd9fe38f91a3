"""The way in: `cnnstat` and `python -m cnnstat`."""

import os


def run() -> None:
    """Run the command line; Ctrl-C while it is still being imported ends it without a traceback, too."""
    try:
        from cnnstat.cli import run as run_command_line
    except KeyboardInterrupt:
        os._exit(130)
    run_command_line()


if __name__ == "__main__":
    run()
