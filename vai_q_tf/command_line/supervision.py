"""Runs the command in a child process, because TensorFlow may crash on a graph, and ignores interrupts while it computes.

The parent does not import TensorFlow. It forwards the signals that end the child, waits, and reports how the child ended.
Forking is safe and cheap here: no thread runs yet, and no device is open.
"""
import argparse
import atexit
import contextlib
import ctypes
import faulthandler
import mmap
import os
import re
import shutil
import signal
import sys
import tempfile
import threading
from types import FrameType
from typing import IO, Callable, Dict, List, NamedTuple, NoReturn, Optional, Set, Tuple

from vai_q_tf import errors
from vai_q_tf.terminal.streams import complain

_STOPS: Dict[int, str] = {
    signal.SIGINT: 'interrupted', signal.SIGTERM: 'terminated', signal.SIGHUP: 'terminated with the terminal'}
_GRACE = 3.0  # seconds for the child to clean up
_PR_SET_PDEATHSIG = 1  # prctl(2)
# Names of unfinished files of `files`, and of unfinished folders of a Saver.
_UNFINISHED = re.compile(r'\.[0-9a-f]{32}$|.+_temp_[0-9a-f]{32}$')
_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_INPUT_FN = os.path.join('vai_q_tf', 'frozen', 'input_fn.py')
_FRAME = re.compile(r'File "(.*)", line (\d+) in ')


class _Ending(NamedTuple):
    """How a child process ended.

    Args:
      returned: whether its work returned `status`.
      signal: the number of the signal that killed it, or 0.
      stopped: the number of the signal to this process that was to end it, or 0.
      trace: its Python frames when it crashed, in the format of faulthandler.
    """
    returned: bool
    status: int
    signal: int
    stopped: int
    trace: str


def is_possible() -> bool:
    """Whether this process can be forked: it has not imported TensorFlow, and has only one thread."""
    return 'tensorflow' not in sys.modules and threading.active_count() == 1


def supervise(load: Callable[[], Callable[[], int]], options: argparse.Namespace) -> int:
    """Runs `load()()` in a child process, and returns its exit status; `load` imports the modules for it.

    If the child is killed or ended, a line on stderr says why, and unfinished files in the folders of the options are removed.
    """
    ending = _run(load)
    if ending.returned and not (ending.stopped and ending.status):
        return ending.status
    _remove_unfinished(options)
    if not ending.stopped:
        complain(options.command, 'error: {}'.format(_explain(ending, options)))
        return 1
    complain(options.command, _STOPS[ending.stopped])
    return 128 + ending.stopped


def _run(load: Callable[[], Callable[[], int]]) -> _Ending:
    returned = mmap.mmap(-1, 1)  # shared with the child
    caught = [number for number in _STOPS if signal.getsignal(number) is not signal.SIG_IGN]
    on_child = signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # if ignored, an end of the child would be no signal
    with tempfile.TemporaryFile() as trace:
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, caught + [signal.SIGCHLD])
        child = os.fork()
        if not child:
            _be_child(load, trace, returned, caught, mask)
        status, stop = _wait(child, caught)
        if stop:
            for number in caught:
                signal.signal(number, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, on_child)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        trace.seek(0)
        return _Ending(bool(returned[0]), os.WEXITSTATUS(status), os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0,
                       stop, trace.read().decode(errors='replace'))


def _wait(child: int, caught: List[int]) -> Tuple[int, int]:
    """(wait status of the child, the first of the `caught` signals that came before it ended, or 0).

    The first signal goes on to the child as SIGTERM. Another one, or `_GRACE` seconds, kill it. All these signals are
    blocked: handlers in Python would miss one that arrives just before the system call.
    """
    stop = 0
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return status, stop or next(iter(signal.sigpending().intersection(caught)), 0)
        arrived = signal.sigtimedwait(caught + [signal.SIGCHLD], _GRACE)
        number = arrived.si_signo if arrived else 0
        if number in caught or stop and not number:
            os.kill(child, signal.SIGKILL if stop else signal.SIGTERM)
            stop = stop or number


def _be_child(load: Callable[[], Callable[[], int]], trace: IO[bytes], returned: mmap.mmap, caught: List[int],
              mask: Set[int]) -> NoReturn:
    """Runs `load()()`, and ends the process. The parent forwards all signals that end it as SIGTERM."""
    process, status = os.getpid(), 1
    work: Optional[Callable[[], int]] = None

    def stop(number: int, frame: Optional[FrameType]) -> None:
        signal.signal(signal.SIGTERM, _ignore)
        if work is None or os.getpid() != process:  # an import may swallow exceptions; user code may have forked
            os._exit(128 + number)
        with contextlib.suppress(Exception):  # it may be in the middle of a write
            sys.stderr.end_line()  # type: ignore  # of a patient stream
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # no messages of interrupted code
        raise KeyboardInterrupt

    try:
        for number in caught:
            signal.signal(number, _ignore)
        signal.signal(signal.SIGTERM, stop)
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        faulthandler.enable(trace)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        work = load()
        status = work()
        returned[0] = True
    finally:
        with contextlib.suppress(BaseException):
            atexit._run_exitfuncs()
            sys.stdout.flush()
        os._exit(status)


def _ignore(number: int, frame: Optional[FrameType]) -> None:
    """Ignores a signal for the parent. Programs started by user code would inherit SIG_IGN."""


def _remove_unfinished(options: argparse.Namespace) -> None:
    folders = {folder for folder, _, _ in os.walk(options.config.output_dir)}
    if options.input_frozen_graph:
        folders.add(os.path.dirname(os.path.realpath(options.input_frozen_graph)))
    for folder in folders:
        with contextlib.suppress(OSError):
            for entry in os.scandir(folder):
                if _UNFINISHED.match(entry.name):
                    shutil.rmtree(entry.path) if entry.is_dir(follow_symlinks=False) else os.unlink(entry.path)


def _explain(ending: _Ending, options: argparse.Namespace) -> errors.QuantizeError:
    """The QuantizeError for a child that a signal killed, or that ended before its work returned."""
    if not ending.signal:
        return errors.QuantizeError(
            errors.INVALID_INPUT_FN, 'Ended', 'The process was ended with status {} before the command was done, as by '
            'os._exit in input_fn.'.format(ending.status))
    name = _signal_name(ending.signal)
    if ending.signal == signal.SIGKILL:
        return errors.QuantizeError(
            errors.OUT_OF_MEMORY, 'Killed', 'The process was killed ({}), as systems do when memory runs out; give smaller '
            'batches, or a smaller graph.'.format(name))
    if options.debug_mode:
        print(ending.trace, file=sys.stderr)
    return _explain_crash(name, ending.trace, options)


def _explain_crash(name: str, trace: str, options: argparse.Namespace) -> errors.QuantizeError:
    frames = _FRAME.findall(trace)  # the innermost first
    inside = next((place for place, (path, _) in enumerate(frames) if path.endswith(_INPUT_FN)), 0)
    if inside:
        return errors.QuantizeError(
            errors.INVALID_INPUT_FN, 'Crash', 'input_fn crashes ({}) in {}, line {}.'.format(
                name, *next(filter(_is_of_user, frames[:inside]), frames[0])))
    path = options.input_frozen_graph or options.input_meta_graph
    if not path or 'load_op_library' in trace:
        return errors.QuantizeError(errors.INVALID_CONFIG, 'Crash', 'TensorFlow crashes ({}){}.'.format(
            name, '; --custom_op_so names {!r}'.format(options.custom_op_so) if options.custom_op_so else ''))
    node = _crashing_node(options)
    cause = ('at the node {}; correct its attributes and inputs'.format(node) if node else
             'while it computes, at {}, line {}; check whether it runs there with TensorFlow alone'.format(*_place(frames)))
    return errors.QuantizeError(errors.UNSUPPORTED_GRAPH, 'Crash', 'TensorFlow crashes ({}) on the graph in {!r}, {}.'.format(
        name, path, cause))


def _crashing_node(options: argparse.Namespace) -> str:
    """The result of `run.crashing_node`, in a process that may crash."""
    with tempfile.TemporaryFile(buffering=0) as found:
        def load() -> Callable[[], int]:
            from vai_q_tf.command_line import run
            return lambda: found.write(run.crashing_node(options).encode()) * 0

        _run(load)
        found.seek(0)
        return found.read().decode()


def _place(frames: List[Tuple[str, str]]) -> Tuple[str, str]:
    """(file, line) of the innermost frame in this package, with the file relative to its parent folder."""
    root = os.path.dirname(_PACKAGE)
    return next(((os.path.relpath(path, root), line) for path, line in frames
                 if os.path.abspath(path).startswith(_PACKAGE)), ('an unknown file', '?'))


def _is_of_user(frame: Tuple[str, str]) -> bool:
    return not frame[0].startswith(os.path.dirname(os.__file__) + os.sep) and os.sep + 'site-packages' + os.sep not in frame[0]


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return 'signal {}'.format(number)
