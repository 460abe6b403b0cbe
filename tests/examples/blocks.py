"""The examples of a document, run as a reader would run them."""
import os
import re
import stat
import subprocess
import sys

from tests.forks import ROOT

_COMMANDS = {'python': '"$@"', 'vai_q_tensorflow': '-m vai_q_tf "$@"'}


class Document:
    """text: the whole document. python, sh, output: its blocks of Python, of command lines, and of their output.

    files: {name: block} of the Python blocks whose first line is a comment with the name of a file; the others are `python`.
    """

    def __init__(self, *path):
        with open(os.path.join(ROOT, *path), encoding='utf-8') as stream:
            self.text = stream.read()
        blocks = re.findall(r'^```(\w+)\n(.*?)^```', self.text, re.DOTALL | re.MULTILINE)
        self.sh, self.output = ([text for language, text in blocks if language == wanted] for wanted in ('sh', 'text'))
        self.files, self.python = {}, []
        for text in (text for language, text in blocks if language == 'python'):
            name = re.match(r'# (\w+\.py)\n', text)
            if name:
                self.files[name.group(1)] = text
            else:
                self.python.append(text)

    def write_files(self, directory):
        """Puts the files of the document into the directory."""
        for name, text in self.files.items():
            (directory / name).write_text(text)

    def rows(self, pattern):
        """The cells of the rows of tables whose first cell is code that fits the pattern: {code: [the other cells]}."""
        found = {}
        for line in self.text.splitlines():
            row = re.match(r'\| `({})` \|(.*)\|$'.format(pattern), line)
            if row:
                assert row.group(1) not in found
                found[row.group(1)] = [cell.strip() for cell in row.groups()[-1].split('|')]
        return found


def run_python(blocks, directory, python=sys.executable):
    """Runs blocks as one script; returns (stdout, stderr)."""
    script = directory / 'blocks_of_the_document.py'
    script.write_text('\n'.join(blocks))
    return _run([python, str(script)], directory, dict(os.environ, PYTHONPATH=ROOT))


def run_sh(blocks, directory, python=sys.executable):
    """Runs blocks as one script of bash, up to the first command that fails; returns (stdout, stderr).

    `python` is the given one, and `vai_q_tensorflow` is on the PATH as if the package were installed.
    """
    commands = directory / 'commands'
    commands.mkdir(exist_ok=True)
    for name, arguments in _COMMANDS.items():
        command = commands / name
        command.write_text('#!/bin/sh\nexec {} {}\n'.format(python, arguments))
        command.chmod(command.stat().st_mode | stat.S_IEXEC)
    environment = dict(os.environ, PYTHONPATH=ROOT, PATH='{}:{}'.format(commands, os.environ['PATH']))
    return _run(['bash', '-e', '-c', '\n'.join(blocks)], directory, environment)


def _run(command, directory, environment):
    result = subprocess.run(command, cwd=str(directory), env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            universal_newlines=True)
    assert result.returncode == 0, result.stderr
    return result.stdout, result.stderr
