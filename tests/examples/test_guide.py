"""The examples of the guide to quantization-aware training run unchanged, in order."""
import re

from tests.examples.blocks import Document, run_python


def test_the_examples_run_and_write_what_the_guide_lists(tmp_path, forked_python):
    guide = Document('docs', 'quantization_aware_training.md')
    _, log = run_python(guide.python, tmp_path, forked_python)
    assert 'No quantized model' not in log
    written = {re.sub(r'\d+_\d{14}', '<suffix>', path.name)
               for directory in ('quantized', 'estimator') for path in (tmp_path / directory).iterdir()}
    listed = set(guide.rows(r'quantize_[^`]*'))
    assert len(listed) == 5
    assert listed <= written
