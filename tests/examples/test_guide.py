"""The examples of the guide to quantization-aware training run as they stand, one after the other."""
import os
import re
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def test_the_examples_run_and_write_what_the_guide_lists(tmp_path):
    with open(os.path.join(ROOT, 'docs', 'quantization_aware_training.md'), encoding='utf-8') as text:
        guide = text.read()
    script = tmp_path / 'guide.py'
    script.write_text('\n'.join(re.findall(r'```python\n(.*?)```', guide, re.DOTALL)))
    result = subprocess.run([sys.executable, str(script)], cwd=str(tmp_path), env=dict(os.environ, PYTHONPATH=ROOT),
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True)
    assert result.returncode == 0, result.stderr
    assert 'No quantized model' not in result.stderr
    written = {re.sub(r'\d+_\d{14}', '<suffix>', path.name)
               for directory in ('quantized', 'estimator') for path in (tmp_path / directory).iterdir()}
    listed = set(re.findall(r'^\| `(quantize_[^`]*)`', guide, re.MULTILINE))
    assert len(listed) == 4
    assert listed <= written
