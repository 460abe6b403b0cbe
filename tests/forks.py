"""Runs Python programs in separate processes that need not import TensorFlow: they are forks of one process that has.

`python` is a program that runs a script, -m or -c as Python does. Tests of the start itself, of its signals or imports, need a
real Python.
"""
import atexit
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import traceback

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_EACH = '''
import os, sys, traceback
import tensorflow
for result, (path, code) in sorted({!r}.items()):
    pid = os.fork()
    if not pid:
        os.dup2(os.open(result, os.O_WRONLY | os.O_CREAT), 1)
        os.dup2(1, 2)
        try:
            sys.path.insert(0, path)
            exec(code, {{}})
            print('done', flush=True)
        except BaseException:
            traceback.print_exc()
        os._exit(0)
    os.waitpid(pid, 0)
'''
_CLIENT = '''
import array, json, os, socket, sys
connection = socket.socket(socket.AF_UNIX)
connection.connect({!r})
fds = array.array('i', [0, 1, 2])
connection.sendmsg([json.dumps([sys.argv[1:], os.getcwd(), dict(os.environ)]).encode() + b'\\n'],
                   [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fds)])
status = connection.recv(1)
sys.exit(status[0] if status else 'the process was killed')
'''


def run_each(codes, directory):
    """Runs each code of {name: (directory to import from, code)} in a fork of a process that has imported only TensorFlow.

    Returns:
      {name: its output, with 'done' at the end}.
    """
    results = {str(directory / name): code for name, code in codes.items()}
    subprocess.run([sys.executable, '-W', 'ignore', '-c', _EACH.format(results)], cwd=str(directory), check=True,
                   env=dict(os.environ, TF_CPP_MIN_LOG_LEVEL='2'))
    return {name: (directory / name).read_text() for name in codes}


class Forks:
    """Starts the process to fork, with its files in a directory; `close` ends it.

    `python` is the path of the program, which passes on the working directory and the environment.
    """

    def __init__(self, directory):
        self.python = str(directory / 'python')
        place = str(directory / 'socket')
        (directory / 'client.py').write_text(_CLIENT.format(place))
        (directory / 'python').write_text('#!/bin/sh\nexec {} -E -S {} "$@"\n'.format(sys.executable, directory / 'client.py'))
        (directory / 'python').chmod(0o755)
        self._server = subprocess.Popen(
            [sys.executable, '-m', 'tests.forks', place, self.python], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            cwd=ROOT, env=dict(os.environ, PYTHONPATH=ROOT))
        assert self._server.stdout.readline() == b'ready\n'

    def close(self):
        self._server.stdin.close()
        self._server.stdout.close()
        assert self._server.wait() == 0


def _serve(place, python):
    """Forks for each connection until stdin ends."""
    import tensorflow as tf

    import vai_q_tensorflow  # noqa: F401
    from tests import quick_tensorflow
    from vai_q_tf.command_line import run  # noqa: F401
    quick_tensorflow.turn_optimizers_off()
    sys.modules[tf.estimator.RunConfig.__module__].get_default_session_config = quick_tensorflow.one_thread
    quick_tensorflow.collect_less()
    sys.executable = python
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(place)
    listener.listen(5)
    print('ready', flush=True)
    children = set()
    while listener in select.select([listener, sys.stdin], [], [])[0]:
        connection, _ = listener.accept()
        child = os.fork()
        if not child:
            listener.close()
            _be_child(connection)
        connection.close()
        children.add(child)
    for child in children:
        os.waitpid(child, 0)


def _be_child(connection):
    status = 1
    try:
        message, ancillary, _, _ = connection.recvmsg(1 << 20, socket.CMSG_SPACE(3 * 4))
        while not message.endswith(b'\n'):
            message += connection.recv(1 << 20)
        arguments, directory, environment = json.loads(message.decode())
        fds = memoryview(ancillary[0][2]).cast('i')
        for number, fd in enumerate(fds):
            os.dup2(fd, number)
            os.close(fd)
        sys.stdout = sys.__stdout__ = open(1, 'w', closefd=False)  # the old ones have the buffering of the server's descriptors
        sys.stderr = sys.__stderr__ = open(2, 'w', 1, closefd=False)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.chdir(directory)
        os.environ.clear()
        os.environ.update(environment)
        status = _run(arguments)
    except BaseException:
        traceback.print_exc()
    finally:
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        connection.sendall(bytes([status]))
        os._exit(status)


def _run(arguments):
    """Runs a program as Python does with these arguments, and returns its exit status."""
    kind = arguments[0] if arguments[0] in ('-c', '-m') else ''
    sys.argv = [kind] + arguments[2:] if kind else arguments
    of_user = filter(None, os.environ.get('PYTHONPATH', '').split(os.pathsep))
    sys.path[:1] = ['' if kind else os.path.dirname(os.path.abspath(arguments[0])), *of_user]
    try:
        if kind == '-c':
            exec(compile(arguments[1], '<string>', 'exec'), {'__name__': '__main__'})
        elif kind == '-m':
            runpy.run_module(arguments[1], run_name='__main__', alter_sys=True)
        else:
            runpy.run_path(arguments[0], run_name='__main__')
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return (end.code or 0) & 255
        print(end.code, file=sys.stderr)
        return 1
    except BaseException:
        sys.excepthook(*sys.exc_info())
        return 1
    return 0


if __name__ == '__main__':
    _serve(*sys.argv[1:])
