"""Runs trials in forked children: a death, or a trial that does not end, is told of the trial that it came of.

The parent has imported TensorFlow, and never opens a session, whose threads a fork would lose. A child runs trials one after
the other. Of each it writes lines to a pipe: that it begins, what part of it is under way, and what came of it.
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

_MEMORY = 16 * 2**30  # bytes of addresses of a child, so that a trial cannot take the whole machine down


class Child:
    """A forked process that has some of the trials."""

    def __init__(self, trials, run):
        self.left, self.part, self.since = collections.deque(trials), '', time.time()
        self.began = False
        self._text = b''
        self.errors = tempfile.TemporaryFile()
        self.pipe, writing = os.pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if not self.pid:
            status = 1
            try:
                os.close(self.pipe)
                _child(trials, run, os.fdopen(writing, 'w', 1), self.errors)
                status = 0
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stderr.flush()
                os._exit(status)
        os.close(writing)

    def read(self):
        """The results that are there, as (trial, result); the second value is whether more may come."""
        data, found = os.read(self.pipe, 2**16), []
        *lines, self._text = (self._text + data).split(b'\n')
        for line in map(json.loads, filter(None, lines)):
            self.since = time.time()
            if 'begin' in line:
                self.began, self.part = True, 'start'
            elif 'part' in line:
                self.part = line['part']
            else:
                self.began = False
                found.append((self.left.popleft(), line['result']))
        return found, bool(data)

    def stop(self):
        """Ends the process and what it started; returns how it ended: its exit status, or minus the signal."""
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except OSError:
            pass
        _, status = os.waitpid(self.pid, 0)
        os.close(self.pipe)
        return -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)

    def last_words(self):
        """What the process wrote to stderr, at most the last 20,000 characters."""
        size = self.errors.seek(0, os.SEEK_END)
        self.errors.seek(max(0, size - 20000))
        return self.errors.read().decode('utf-8', 'replace')


def _child(trials, run, pipe, errors):
    os.setpgid(0, 0)
    os.dup2(errors.fileno(), 2)
    os.dup2(os.open(os.devnull, os.O_RDWR), 1)
    os.dup2(1, 0)
    sys.stdout, sys.stderr = os.fdopen(os.dup(1), 'w'), os.fdopen(os.dup(2), 'w', 1)
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    faulthandler.enable(os.fdopen(os.dup(2), 'w'))

    def tell(**line):
        pipe.write(json.dumps(line) + '\n')

    for trial in trials:
        os.ftruncate(2, 0)
        os.lseek(2, 0, os.SEEK_SET)
        tell(begin=trial)
        tell(result=run(trial, lambda part: tell(part=part)))


def run_all(trials, run, seconds, jobs, at_once=25):
    """Yields (trial, result) in the order in which trials end.

    Args:
      trials: list of what JSON can say.
      run: function from a trial, and a function that is told the name of each part, to a result that JSON can say.
      seconds: that one part of a trial may take.
      jobs: number of processes.
      at_once: trials that one process runs, at most.

    The result of a trial that killed its process is {'died': minus the signal or the exit status, 'part': its name,
    'words': the end of stderr}, of one that took too long {'slow': seconds, 'part': its name}.
    """
    waiting, children = collections.deque(trials), []
    at_once = max(1, min(at_once, len(waiting) // (2 * jobs)))
    try:
        while waiting or children:
            while waiting and len(children) < jobs:
                children.append(Child([waiting.popleft() for _ in range(min(at_once, len(waiting)))], run))
            ready, _, _ = select.select([child.pipe for child in children], [], [], 1.)
            for child in list(children):
                found, more = child.read() if child.pipe in ready else ([], True)
                yield from found
                if more and time.time() - child.since < seconds:
                    continue
                children.remove(child)
                status = child.stop()
                if child.began:
                    yield child.left.popleft(), (
                        {'slow': seconds, 'part': child.part} if more else
                        {'died': status, 'part': child.part, 'words': child.last_words()})
                elif child.left and status not in (0, -signal.SIGKILL):
                    raise RuntimeError('a child ended between trials:\n' + child.last_words())
                waiting.extendleft(reversed(child.left))
    finally:
        for child in children:
            child.stop()
