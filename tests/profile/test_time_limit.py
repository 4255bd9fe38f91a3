"""Work that hangs, crashes or fails costs its time limit and no more."""

from __future__ import annotations

from threading import Event

import pytest
import time_limited_work

from cnnstat.profile.time_limit import GivenUpError, NotSendableError, in_a_process, on_a_thread


def test_a_process_returns_and_raises_what_its_work_does() -> None:
    assert in_a_process(time_limited_work.double, (21,), 60) == 42
    with pytest.raises(ValueError, match="what it says"):
        in_a_process(time_limited_work.fail, (), 60)


def test_a_process_that_crashes_or_hangs_is_given_up() -> None:
    with pytest.raises(GivenUpError, match="its process ended with"):
        in_a_process(time_limited_work.crash, (), 60)
    with pytest.raises(GivenUpError, match="did not end within 1 s"):
        in_a_process(time_limited_work.hang, (), 1)


def test_what_no_other_process_has_is_told() -> None:
    with pytest.raises(NotSendableError):
        in_a_process(lambda: None, (), 60)


def test_a_thread_that_hangs_is_given_up() -> None:
    release = Event()
    with pytest.raises(GivenUpError):
        on_a_thread(lambda: release.wait(30), 0.05)
    release.set()
    with pytest.raises(ValueError, match="said"):
        on_a_thread(lambda: (_ for _ in ()).throw(ValueError("said")).__next__(), 5)
