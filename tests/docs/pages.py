"""Runs the examples of a page of the documentation in the order of the page, as its reader would.

A page consists of blocks between three backquotes, by language:

* `python`: runs in one process with the other blocks of the page. If the first line is a comment with the name of a file,
  the block becomes that file instead; so do `yaml` and `json`, which have no other use.
* `sh`: runs in bash, up to the first command that fails.
* `text`: the output of the step before, or consecutive lines of it. A line `...` is any number of lines, and numbers may
  differ by 2 %, or by one unit of their last digit.
* `console`: the form of a command, with PLACEHOLDERS or `[options]`; it does not run.
* `dockerfile`: a file; the test of its page runs its commands.

Comments say what a block cannot: `<!-- continues: start/first_model.md -->` at the top of a page gives it the files of that
page. `<!-- exits with 3 -->` before a block of `sh` expects a status other than 0. `<!-- run by tests/a/test_b.py -->` before
a block names a test file that runs it; `<!-- not run: reason -->` is for what no test can run. Blocks within a comment are
only for the test, and stand in for what a reader has: a board, a trained network.
"""
import os
import pathlib
import re
import shutil
import stat
import subprocess
import sys
import tempfile
from typing import NamedTuple

from tests.forks import ROOT

DOCS = os.path.join(ROOT, 'docs')
_BLOCK = re.compile(r'^(?:<!-- (exits with|run by|not run:) ?(.*?) -->\n\n?)?```(\w+)\n(.*?)^```$', re.DOTALL | re.MULTILINE)
_CONTINUES = re.compile(r'^<!-- continues: (\S+) -->$', re.MULTILINE)
_FILE = re.compile(r'# ([\w.]+\.\w+)\n')
_NUMBER = re.compile(r'[-−+]?\d+(?:\.\d+)?')
_COMMANDS = {'python': '"$@"', 'vai_q_tensorflow': '-m vai_q_tf "$@"'}
_DRIVER = '''
import builtins as _builtins, subprocess as _subprocess, sys as _sys
def _run(steps):  # a page may define any name that does not begin with an underscore
    for line, language, code, status in steps:
        _builtins.print('\\x1e{{}}'.format(line), flush=True)
        if language == 'python':
            _builtins.exec(_builtins.compile('\\n' * line + code, {page!r}, 'exec'), _builtins.globals())
        else:
            ended = _subprocess.call(['bash', '-e', '-c', code])
            if ended != status:
                _sys.exit('line {{}} of {{}} exits with {{}}'.format(line, {page!r}, ended))
        _sys.stdout.flush()
_run({steps!r})
'''


class Block(NamedTuple):
    """line: the one before its code, from 1. mark, detail: the kind and the text of the comment before it, or ''."""
    line: int
    language: str
    code: str
    mark: str
    detail: str

    @property
    def file(self):
        """The name of the file that it becomes, or None."""
        name = self.language in ('python', 'yaml', 'json') and _FILE.match(self.code)
        return name.group(1) if name else None

    @property
    def runs(self):
        return self.language in ('python', 'sh') and not self.file and self.mark in ('', 'exits with')


class Page:
    """A Markdown file, by its path in docs/, or '../README.md'."""

    def __init__(self, path):
        self.path = os.path.join(DOCS, path)
        with open(self.path, encoding='utf-8') as stream:
            self.text = stream.read()
        self.blocks = [Block(self.text.count('\n', 0, found.start(4)), found.group(3), found.group(4), found.group(1) or '',
                             found.group(2) or '') for found in _BLOCK.finditer(self.text)]
        before = _CONTINUES.search(self.text)
        self.before = before.group(1) if before else None

    def run(self, directory, python=sys.executable):
        """Writes the files of the page, runs its blocks, and asserts that they print what it shows.

        Returns:
          {line of a block: what it printed, stdout and stderr}.
        """
        for block in self.blocks:
            if block.file:
                (directory / block.file).write_text(block.code)
        steps = [(block.line, block.language, block.code, int(block.detail or 0)) for block in self.blocks if block.runs]
        driver = directory / '.steps.py'
        driver.write_text(_DRIVER.format(page=self.path, steps=steps))
        done = subprocess.run([python, str(driver)], cwd=str(directory), env=_environment(directory, python),
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True)
        assert done.returncode == 0, done.stdout
        _, *parts = re.split('\x1e', done.stdout)
        printed = {int(number): text for number, _, text in (part.partition('\n') for part in parts)}
        self._check_output(printed)
        return printed

    def _check_output(self, printed):
        text = None
        for block in self.blocks:
            if block.runs:
                text = printed[block.line]
            elif block.language == 'text' and not block.mark:
                assert text is not None, 'no step before the output in line {}'.format(block.line)
                assert shows(block.code, text), 'line {} of {} shows\n{}\nprinted was\n{}'.format(
                    block.line, self.path, block.code, text)


def run_page(path, directory, python=sys.executable):
    """Runs this page in the directory, after the pages that it continues; returns what `Page.run` does."""
    page = Page(path)
    if page.before:
        _copy(finished(page.before, python)[0], directory)
    return page.run(directory, python)


_finished = {}  # {path of a page: (the directory that it ran in, what it printed)}


def finished(path, python=sys.executable):
    """(directory, printed): what the page leaves, of one run in this process, however many pages continue it."""
    if path not in _finished:
        directory = tempfile.TemporaryDirectory()
        _finished[path] = directory, run_page(path, pathlib.Path(directory.name), python)
    return _finished[path][0].name, _finished[path][1]


def _copy(source, target):
    for name in os.listdir(source):
        path = os.path.join(source, name)
        (shutil.copytree if os.path.isdir(path) else shutil.copy)(path, str(target / name))


def pages(folder=''):
    """The paths of all pages in a folder of docs/, as `Page` takes them."""
    return sorted(os.path.relpath(os.path.join(place, name), DOCS) for place, _, names in os.walk(os.path.join(DOCS, folder))
                  for name in names if name.endswith('.md'))


def shows(expected, printed):
    """Whether the lines of `expected` are consecutive lines of `printed`, as the docstring of the module says."""
    parts = [[]]
    for line in expected.strip('\n').splitlines():
        if line.strip() == '...':
            parts.append([])
        else:
            parts[-1].append(line)
    lines, start = printed.splitlines(), 0
    for part in parts:
        start = next((place + len(part) for place in range(start, len(lines) - len(part) + 1)
                      if all(map(_is_alike, part, lines[place:]))), None)
        if start is None:
            return False
    return True


def _is_alike(expected, line):
    """Equal but for the width of spaces and of rules, and for numbers that differ little."""
    texts = [' '.join(re.sub('-{2,}', '--', _NUMBER.sub('0', text)).split()) for text in (expected, line)]
    numbers = [_NUMBER.findall(text) for text in (expected, line)]
    return texts[0] == texts[1] and all(map(_is_near, *numbers))


def _is_near(expected, found):
    unit = 10.0 ** -len(expected.partition('.')[2])
    first, second = (float(number.replace('−', '-')) for number in (expected, found))
    return abs(first - second) <= 1.001 * max(unit if '.' in expected else 0, 0.02 * abs(first))


def _environment(directory, python):
    """The environment with `python` and `vai_q_tensorflow` on the PATH as if the package were installed."""
    commands = directory / '.commands'
    shutil.rmtree(str(commands), ignore_errors=True)
    commands.mkdir()
    for name, arguments in _COMMANDS.items():
        command = commands / name
        command.write_text('#!/bin/sh\nexec {} {}\n'.format(python, arguments))
        command.chmod(command.stat().st_mode | stat.S_IEXEC)
    return dict(os.environ, PYTHONPATH=ROOT, PATH='{}:{}'.format(commands, os.environ['PATH']))
