"""Work for processes of their own."""

import os
import time


def double(number: int) -> int:
    return 2 * number


def fail() -> None:
    raise ValueError("what it says")


def crash() -> None:
    os.abort()


def hang() -> None:
    time.sleep(60)
