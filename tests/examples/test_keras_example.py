"""The examples of tf.keras, with few steps: their tables, and that the frozen file is the network of the checkpoint."""
import json
import os
import re

import pytest

from tests.examples.test_demo import ROOT, needs_digits, run

EXAMPLE = os.path.join(ROOT, 'examples', 'keras')


def rows_of(script, directory, results):
    """{name: (accuracy, file)} of results.json; each row is in the table that the script prints."""
    process = run([os.path.join(EXAMPLE, script), '--quick'], directory)
    assert process.returncode == 0, process.stderr
    with open(str(directory / results / 'results.json')) as stream:
        rows = json.load(stream)['rows']
    for name, accuracy, file in rows:
        assert re.search(r'^{} +{:.1f} % +{}$'.format(name, 100 * accuracy, re.escape(file)), process.stdout, re.MULTILINE)
    return {name: (accuracy, file) for name, accuracy, file in rows}


@pytest.mark.slow
@needs_digits
def test_fit(tmp_path):
    rows = rows_of('fit.py', tmp_path, 'keras_results')
    assert list(rows) == ['float', 'quantized', 'frozen file']
    assert rows['quantized'][0] == pytest.approx(rows['frozen file'][0], abs=1e-6)
    assert os.path.exists(str(tmp_path / rows['quantized'][1]) + '.index')
    assert os.path.exists(str(tmp_path / rows['frozen file'][1]))


@needs_digits
def test_session_loop(tmp_path):
    rows = rows_of('session_loop.py', tmp_path, 'keras_loop_results')
    assert list(rows) == ['float', 'quantized']
    assert rows['quantized'][0] > 0.3
    assert len(list((tmp_path / 'keras_loop_results').glob('quantize_eval_model_30_*.pb'))) == 1
