"""Columns of a table are aligned on the left, and all but the last are padded."""
from vai_q_tf.terminal.table import table


def test_table():
    assert table([('a', 'name'), ('100', 'x'), ('2', 'long name')]) == [
        'a    name', '---  ----', '100  x', '2    long name']
