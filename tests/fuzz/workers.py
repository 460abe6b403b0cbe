"""Runs trials in forked children, so that a death or a hang is reported for its trial.

The parent has imported TensorFlow but never opens a session, whose threads a fork would lose. Each trial is a separate process,
like a command. It writes lines to a pipe: the part under way, and the result.
"""
import collections
import faulthandler
import json
import os
import resource
import select
import signal
import sys
import tempfile
import time
import traceback

_LOST = 10  # wall time of a trial, as a multiple of its CPU time
_MEMORY = 16 * 2**30  # bytes of addresses of a child, so that a trial cannot take the whole machine down


class _Child:
    """A forked process that runs a trial; `result` is None until it has one, `part` is the part under way."""

    def __init__(self, trial, run, seconds):
        self.trial, self.part, self.result = trial, 'start', None
        self._begin, self._most = time.time(), _LOST * seconds
        self._text, self._errors = b'', tempfile.TemporaryFile()
        self.pipe, writing = os.pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        self._pid = os.fork()
        if not self._pid:
            try:
                os.close(self.pipe)
                _run(trial, run, seconds, os.fdopen(writing, 'w', 1), self._errors)
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stderr.flush()
                os._exit(0)
        os.close(writing)

    @property
    def is_late(self):
        return time.time() - self._begin > self._most

    def read(self):
        """Reads the output of the process; returns whether it is still running."""
        data = os.read(self.pipe, 2**16)
        *lines, self._text = (self._text + data).split(b'\n')
        for line in map(json.loads, lines):
            self.part = line.get('part', self.part)
            self.result = line.get('result', self.result)
        return bool(data) and self.result is None

    def end(self):
        """Ends the process; returns the result, or a dict that describes its death."""
        hangs = self.result is None and self.is_late
        if hangs:
            self._kill(signal.SIGABRT)  # a hanging process dumps its stacks
            time.sleep(.5)
            self._kill(signal.SIGKILL)
        _, status = os.waitpid(self._pid, 0)
        self._kill(signal.SIGKILL)  # its children
        os.close(self.pipe)
        if self.result is not None:
            return self.result['value']
        status = -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
        status = -signal.SIGXCPU if hangs else status
        return {'died': status, 'part': self.part, 'words': self._last_words()}

    def stop(self):
        self._kill(signal.SIGKILL)
        self.end()

    def _kill(self, number):
        try:
            os.killpg(self._pid, number)
        except OSError:  # it is over, and an empty process group does not exist
            pass

    def _last_words(self):
        size = self._errors.seek(0, os.SEEK_END)
        self._errors.seek(max(0, size - 20000))
        return self._errors.read().decode('utf-8', 'replace')


def _run(trial, run, seconds, pipe, errors):
    os.setpgid(0, 0)
    os.dup2(errors.fileno(), 2)
    os.dup2(os.open(os.devnull, os.O_RDWR), 1)
    os.dup2(1, 0)
    sys.stdout, sys.stderr = os.fdopen(os.dup(1), 'w'), os.fdopen(os.dup(2), 'w', 1)
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 5))
    words = os.fdopen(os.dup(2), 'w')
    faulthandler.enable(words)
    faulthandler.register(signal.SIGXCPU, words, chain=True)

    def tell(**line):
        pipe.write(json.dumps(line) + '\n')

    tell(result={'value': run(trial, lambda part: tell(part=part))})


def run_all(trials, run, seconds, jobs):
    """Yields (trial, result) in the order in which trials end.

    Args:
      trials: names.
      run: function from a trial, and a function to call with the name of each part, to a result that JSON can represent.
      seconds: CPU time for a trial, after which SIGXCPU ends it; it also ends after ten times as long on the clock.
      jobs: number of processes at a time.

    The result of a trial whose process died is {'died': minus the signal, or the exit status, 'part': the part under way,
    'words': the end of stderr, with a traceback of each thread}.
    """
    waiting, children = collections.deque(trials), []
    try:
        while waiting or children:
            while waiting and len(children) < jobs:
                children.append(_Child(waiting.popleft(), run, seconds))
            ready, _, _ = select.select([child.pipe for child in children], [], [], 1.)
            for child in list(children):
                if not (child.read() if child.pipe in ready else not child.is_late):
                    children.remove(child)
                    yield child.trial, child.end()
    finally:
        for child in children:
            child.stop()
