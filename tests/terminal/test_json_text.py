"""Results as JSON, which has no inf and no NaN."""
import json
import math
from typing import NamedTuple

import numpy as np

from vai_q_tf.terminal.json_text import json_text


class _Row(NamedTuple):
    name: str
    value: float


def test_json_has_plain_values():
    value = {'rows': (_Row('a', math.inf), _Row('b', 1.5)), 'nan': np.float32('nan'), 'array': np.arange(2), 'nothing': None}
    assert json.loads(json_text(value)) == {
        'rows': [{'name': 'a', 'value': None}, {'name': 'b', 'value': 1.5}], 'nan': None, 'array': [0, 1], 'nothing': None}
