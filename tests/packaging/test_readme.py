"""The examples of the README run as they stand, one after the other, and leave the files that it promises."""
import os
import re
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def test_the_examples_run(tmp_path):
    with open(os.path.join(ROOT, 'README.md'), encoding='utf-8') as text:
        blocks = re.findall(r'```python\n(.*?)```', text.read(), re.DOTALL)
    assert len(blocks) == 5
    script = tmp_path / 'readme.py'
    script.write_text('\n'.join(blocks))
    result = subprocess.run([sys.executable, str(script)], cwd=str(tmp_path), env=dict(os.environ, PYTHONPATH=ROOT),
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True)
    assert result.returncode == 0, result.stderr
    assert result.stdout == '', 'the compiler would refuse the model: ' + result.stdout
    written = sorted(re.sub(r'\d{14}', 'DATE', path.name) for path in (tmp_path / 'quantize_results').iterdir())
    assert written == ['quantize_eval_{}_{}_DATE.pb'.format(kind, step) for kind in ('graph', 'model')
                       for step in (10, 20, 30)] + ['quantize_train_graph.pb'], result.stderr
