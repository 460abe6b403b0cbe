"""The results file: one line of JSON for each run that ended."""
import json
import os
import re
import subprocess
from typing import NamedTuple, Optional

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
# Documents may change, as by the report, without a new measurement.
_MEASURED = ('vai_q_tf', 'vai_q_tensorflow.py', 'kernels', 'benchmarks/accuracy', 'examples/estimator')
_COMMITS = 'Results of commit '


class Run(NamedTuple):
    """What a result is of: two results of one commit with the same Run are equal.

    bits: width of weights, biases and activations, None for a float network. recipe: a name in recipes.py, or in efforts.py.
    """
    dataset: str
    network: str
    activation: str
    bits: Optional[int]
    recipe: str
    seed: int


def read(path):
    """The results of a file, dicts, the oldest first; none where there is no file. A line cut off by a crash is left out."""
    if not os.path.exists(path):
        return []
    found = []
    with open(path) as stream:
        for line in stream:
            try:
                found.append(json.loads(line))
            except ValueError:
                continue
    return found


def append(path, result):
    """Adds a line to the file."""
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    with open(path, 'a+b') as stream:
        if stream.tell():
            stream.seek(-1, os.SEEK_END)
            if stream.read() != b'\n':  # after a line that was cut off
                stream.write(b'\n')
        stream.write((json.dumps(result) + '\n').encode())


def key(result):
    """The Run of a result."""
    return Run(*(result[name] for name in Run._fields))


class Last:
    """The last result of every run in lines of a file, but for those of --quick."""

    def __init__(self, lines):
        self._last = {key(line): line for line in lines if not line['quick']}

    def commits(self, kept=''):
        """Which commits the results are of, a sentence. kept: a text with such a sentence, whose commits are added."""
        others = re.findall(r'\b[0-9a-f]{7,}\b', kept.partition(_COMMITS)[2].partition('\n')[0])
        found = sorted({line['commit'] for line in self._last.values()}.union(others))
        return '{}{}.'.format(_COMMITS, ', '.join(found)) if found else 'Results of no commit so far.'


def commit():
    """The commit of the working tree, with '-dirty' where what is measured has been edited; 'unknown' without git."""
    try:
        name = _git('rev-parse', '--short', 'HEAD').strip()
        return name + '-dirty' * bool(_git('status', '--porcelain', '--', *_MEASURED).strip())
    except (OSError, subprocess.CalledProcessError):
        return 'unknown'


def _git(*arguments):
    return subprocess.check_output(('git',) + arguments, cwd=ROOT, stderr=subprocess.DEVNULL, universal_newlines=True)
