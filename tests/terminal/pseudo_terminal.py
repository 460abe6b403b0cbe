"""A terminal for tests."""
import contextlib
import os
import pty
import select
import sys


@contextlib.contextmanager
def terminal(monkeypatch):
    """Makes stderr a terminal inside, and gives a function that returns the text written to it."""
    master, slave = pty.openpty()
    with os.fdopen(slave, 'w', buffering=1) as stream, monkeypatch.context() as patch:
        patch.setattr(sys, 'stderr', stream)
        patch.delenv('NO_COLOR', raising=False)
        patch.setenv('TERM', 'xterm')

        def written():
            stream.flush()
            found = b''
            while select.select([master], [], [], 0.2)[0]:
                found += os.read(master, 1 << 16)
            return found.decode()
        try:
            yield written
        finally:
            os.close(master)
