"""`python -m cnnstat`."""

from cnnstat.cli import run

if __name__ == "__main__":
    run()
