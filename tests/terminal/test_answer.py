"""What a command prints, as text and as JSON."""
import json
import math
from typing import NamedTuple

import numpy as np

from vai_q_tf.terminal.answer import sentence
from vai_q_tf.terminal.json_text import json_text
from vai_q_tf.terminal.table import table


class _Row(NamedTuple):
    name: str
    value: float


def test_a_sentence():
    answer = sentence('all is well')
    assert (answer.text, json.loads(answer.to_json()), answer.status) == ('all is well', {'text': 'all is well'}, 0)


def test_a_table_begins_on_the_left():
    assert table([('a', 'name'), ('100', 'x'), ('2', 'long name')]) == [
        'a    name', '---  ----', '100  x', '2    long name']


def test_json_has_plain_values():
    value = {'rows': (_Row('a', math.inf), _Row('b', 1.5)), 'nan': np.float32('nan'), 'array': np.arange(2), 'nothing': None}
    assert json.loads(json_text(value)) == {
        'rows': [{'name': 'a', 'value': None}, {'name': 'b', 'value': 1.5}], 'nan': None, 'array': [0, 1], 'nothing': None}
