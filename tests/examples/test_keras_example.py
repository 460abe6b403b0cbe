"""The examples of tf.keras, with few steps: their tables, and that the frozen file is the network of the checkpoint."""
import json
import os
import re

import pytest

from tests.examples.scripts import needs_digits, run, smaller_examples


def rows_of(script, directory, results, python, **replaced):
    """{name: (accuracy, file)} of results.json; each row is in the table that the script prints."""
    examples = smaller_examples(directory, **replaced)
    process = run([os.path.join(examples, 'keras', script), '--quick'], directory, python)
    assert process.returncode == 0, process.stderr
    with open(str(directory / results / 'results.json')) as stream:
        rows = json.load(stream)['rows']
    for name, accuracy, file in rows:
        assert re.search(r'^{} +{:.1f} % +{}$'.format(name, 100 * accuracy, re.escape(file)), process.stdout, re.MULTILINE)
    return {name: (accuracy, file) for name, accuracy, file in rows}


@pytest.mark.slow
@needs_digits
def test_fit(tmp_path, forked_python):
    rows = rows_of('fit.py', tmp_path, 'keras_results', forked_python)
    assert list(rows) == ['float', 'quantized', 'frozen file']
    assert rows['quantized'][0] == pytest.approx(rows['frozen file'][0], abs=1e-6)
    assert os.path.exists(str(tmp_path / rows['quantized'][1]) + '.index')
    assert os.path.exists(str(tmp_path / rows['frozen file'][1]))


@needs_digits
def test_session_loop(tmp_path, forked_python):
    rows = rows_of('session_loop.py', tmp_path, 'keras_loop_results', forked_python, session_loop={
        '((16, 1), (32, 2), (32, 1), (64, 2))': '((16, 2), (32, 2))', '(60, 30)': '(100, 8)'})
    assert list(rows) == ['float', 'quantized']
    assert rows['quantized'][0] > 0.3
    assert len(list((tmp_path / 'keras_loop_results').glob('quantize_eval_model_8_*.pb'))) == 1
