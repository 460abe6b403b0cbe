"""Colours are for a terminal that shows them, unless the user disables them."""
import io

import pytest

from vai_q_tf.terminal.colours import coloured


class _Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize('variables, stream, expected', [
    ({}, _Terminal(), '\033[1;31merror\033[0m'), ({'NO_COLOR': ''}, _Terminal(), '\033[1;31merror\033[0m'),
    ({'NO_COLOR': '1'}, _Terminal(), 'error'), ({'TERM': 'dumb'}, _Terminal(), 'error'), ({}, io.StringIO(), 'error')])
def test_coloured(monkeypatch, variables, stream, expected):
    for name, value in dict({'NO_COLOR': '', 'TERM': 'xterm'}, **variables).items():
        monkeypatch.setenv(name, value)
    assert coloured('error', 'error', stream) == expected
