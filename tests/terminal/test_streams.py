"""Streams of the command that cannot be written, closed streams, and incomplete lines."""
import errno
import io
import os
import subprocess
import sys

import pytest

from vai_q_tf.terminal import streams

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def _run(code, redirections='', **variables):
    """Runs Python code after `import os, sys` in a shell with redirections of its streams."""
    # A process whose coverage is measured opens a file before the code runs.
    inherited = {name: value for name, value in os.environ.items() if not name.startswith('COV_CORE')}
    return subprocess.run(['bash', '-c', '"$0" -c "$1" ' + redirections, sys.executable, 'import os, sys\n' + code],
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=dict(inherited, PYTHONPATH=ROOT, **variables))


def _patient():
    """A stream, and the io.BytesIO to which it writes."""
    data = io.BytesIO()
    return streams._Patient(io.TextIOWrapper(data, 'utf-8')), data


@pytest.mark.parametrize('parts, end', [
    ([], b''), (['half'], b'\n'), (['whole\n'], b''), (['whole\n', ''], b''), (['whole\n', 'half'], b'\n'),
    (['half', ''], b'\n'), (['half', ' of it\n'], b''), (['a bar that is gone\r'], b'')])
def test_an_open_line_is_ended_once(parts, end):
    stream, data = _patient()
    for part in parts:
        assert stream.write(part) == len(part)
    for _ in range(2):
        stream.end_line()
    if end:
        assert data.getvalue() == ''.join(parts).encode() + end, 'it is out'
    stream.flush()
    assert data.getvalue() == ''.join(parts).encode() + end and stream.error is None


def test_an_open_line_of_a_child_process():
    done = _run('from vai_q_tf.terminal import streams\nstreams.be_patient()\nif not os.fork():\n'
                '    print("half a line", end="", file=sys.stderr, flush=True)\n    os._exit(0)\n'
                'os.wait()\nstreams.complain("inspect", "what\\n  is wrong \\nwith it")\n'
                'streams.complain("", "more")\nos._exit(0)')
    assert done.stderr.decode().splitlines() == [
        'half a line', 'vai_q_tensorflow inspect: what is wrong with it', 'vai_q_tensorflow: more']


def test_an_error_of_writing_is_kept():
    class Full(io.StringIO):
        def flush(self):
            raise OSError(errno.ENOSPC, 'No space left on device')
    stream = streams._Patient(Full())
    print('text', file=stream)
    assert stream.error is None
    print('text', file=stream, flush=True)
    assert stream.error.errno == errno.ENOSPC and stream.getvalue() == 'text\ntext\n'


@pytest.mark.parametrize('closed', ['', '<&-', '>&-', '2>&-', '<&- >&- 2>&-'])
def test_no_file_gets_the_descriptor_of_a_closed_stream(tmp_path, closed):
    code = '''
import subprocess
from vai_q_tf.terminal import streams
lines = sys.stdout and sys.stdout.line_buffering
before = len(os.listdir('/proc/self/fd'))
streams.be_patient()
assert len(os.listdir('/proc/self/fd')) == before + {closed}
assert sys.__stdout__ is sys.stdout and sys.__stderr__ is sys.stderr
descriptor = os.open({path!r}, os.O_CREAT | os.O_WRONLY)
assert descriptor > 2
print('out', flush=True)
print('err', file=sys.stderr, flush=True)
for name in ('stdout', 'stderr'):
    assert (getattr(sys, name).error is None) == (name not in {names!r})
subprocess.run(['bash', '-c', 'cat && echo out && echo err >&2'], check=True)
os.write(descriptor, b'done')
'''
    names = [name for name, word in (('stdout', ' >&-'), ('stderr', ' 2>&-')) if word in ' ' + closed]
    path = str(tmp_path / 'file')
    # os.listdir opens a descriptor, too.
    done = _run(code.format(path=path, names=names, closed=closed.count('&-') + len(names)), closed or '</dev/null')
    assert done.returncode == 0, done.stderr
    with open(path) as file:
        assert file.read() == 'done', done.stderr
    assert done.stdout.count(b'out') == 2 * ('stdout' not in names)


@pytest.mark.parametrize('lines', [False, True])
def test_lines_are_buffered_as_before(lines):
    done = _run('import io\nfrom vai_q_tf.terminal import streams\n'
                'sys.stdout = io.TextIOWrapper(sys.stdout.detach(), line_buffering={})\nstreams.be_patient()\n'
                'print("out")\nos._exit(0)'.format(lines))
    assert done.stdout == b'out\n' * lines


def test_streams_in_ascii():
    done = _run('from vai_q_tf.terminal import streams\nstreams.be_patient()\n'
                'streams.say("Gr\\u00f6\\u00dfe")\nprint("\\u4e2d", flush=True)', PYTHONIOENCODING='ascii')
    assert done.returncode == 0 and done.stdout == b'Gr\\xf6\\xdfe\n\\u4e2d\n', done
