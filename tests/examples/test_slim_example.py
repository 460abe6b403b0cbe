"""The example of tf.contrib.slim, with few steps: its table, and that the frozen file is the network of the checkpoint."""
import json
import os
import re

import pytest

from tests.examples.test_demo import ROOT, needs_digits, run


@needs_digits
@pytest.mark.parametrize('network', ['MobileNetV1', pytest.param('ResNet', marks=pytest.mark.slow)])
def test_training(tmp_path, network):
    process = run([os.path.join(ROOT, 'examples', 'slim', 'train.py'), '--quick', '--network', network], tmp_path)
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
