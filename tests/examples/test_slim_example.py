"""The example of tf.contrib.slim, with few steps: its table, and that the frozen file is the network of the checkpoint."""
import json
import os
import re

import pytest

from tests.examples.scripts import needs_digits, run, smaller_examples


@needs_digits
@pytest.mark.parametrize('network', ['MobileNetV1', pytest.param('ResNet', marks=pytest.mark.slow)])
def test_training(tmp_path, network, forked_python):
    examples = smaller_examples(
        tmp_path, train={'float_steps=30, finetune_steps=10': 'float_steps=6, finetune_steps=3', 'BATCH = 64': 'BATCH = 16'},
        networks={'((16, 1), (32, 2), (32, 1), (64, 2), (64, 1), (128, 2), (128, 1), (128, 1))': '((16, 2), (32, 2))'})
    process = run([os.path.join(examples, 'slim', 'train.py'), '--quick', '--network', network], tmp_path, forked_python)
    assert process.returncode == 0, process.stderr
    with open(str(tmp_path / 'slim_results' / 'results.json')) as stream:
        rows = json.load(stream)['rows']
    assert [row['network'] for row in rows] == [network]
    for row in rows:
        assert re.search(r'^{network} +{float:.1f} % +{quantized:.1f} % +{frozen:.1f} % +\S+$'.format(
            network=row['network'], **{key: 100 * row[key] for key in ('float', 'quantized', 'frozen')}),
            process.stdout, re.MULTILINE)
        assert row['frozen'] == pytest.approx(row['quantized'], abs=1e-6)
        assert os.path.exists(str(tmp_path / row['file']))
        history = tmp_path / 'slim_results' / row['network'] / 'files' / 'quantize_position_history.jsonl'
        assert history.read_text()
