"""Work that is killed, terminated or interrupted at random moments leaves no half-written file and can be repeated."""
import subprocess
import sys

import pytest

from tests.fuzz.interrupted import WORKS


@pytest.mark.slow
@pytest.mark.parametrize('times, name', [(9, 'SIGKILL'), (4, 'SIGTERM'), (4, 'SIGINT')])
@pytest.mark.parametrize('work', sorted(WORKS))
def test_interruptions(work, name, times):
    done = subprocess.run([sys.executable, '-m', 'tests.fuzz.interrupted', work, name, str(times)], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, universal_newlines=True)
    assert done.returncode == 0, done.stdout[-3000:]
