"""Runs pages of which several continue the same one, and each page only once."""
import runpy
import shutil

import numpy as np

from tests.docs.pages import Page

FIRST_MODEL = 'start/first_model.md'
_LOAD = 'IMAGES, LABELS = _load()'  # half a second in every program that imports digits.py


class Runs:
    """Runs each page in a copy of the directory in which the page that it continues ran.

    Args:
      tmp_path_factory: that of pytest.
      python: as in `Page.run`.
      prepared: {page: directory} to use instead of running that page.
    """

    def __init__(self, tmp_path_factory, python, prepared=None):
        self._factory = tmp_path_factory
        self._python = python
        self._left = dict(prepared or {})
        self._ran = {}

    def __call__(self, path):
        """(directory, {line of a block: what it printed}) of a page, by its path in docs/."""
        if path not in self._ran:
            page = Page(path)
            directory = self._factory.mktemp('page') / 'work'
            if page.before:
                shutil.copytree(str(self._left_by(page.before)), str(directory))
            else:
                directory.mkdir()
            self._ran[path] = directory, page.run(directory, self._python)
        return self._ran[path]

    def _left_by(self, path):
        return self._left[path] if path in self._left else self(path)[0]


def run_first_model(directory, python, last):
    """Runs the page FIRST_MODEL in a directory up to the first block with the text `last`; all its files are there.

    Its digits.py then reads the same arrays from files.
    """
    page = Page(FIRST_MODEL)
    end = next(block.line for block in page.blocks if block.runs and last in block.code)
    page.blocks = [block for block in page.blocks if block.file or block.line <= end]
    page.run(directory, python)
    _read_digits_from_files(directory)
    return directory


def _read_digits_from_files(directory):
    code = (directory / 'digits.py').read_text()
    assert code.count(_LOAD) == 1
    found = runpy.run_path(str(directory / 'digits.py'))
    paths = [str(directory / (name + '.npy')) for name in ('IMAGES', 'LABELS')]
    for path, name in zip(paths, ('IMAGES', 'LABELS')):
        np.save(path, found[name])
    (directory / 'digits.py').write_text(code.replace(_LOAD, 'IMAGES, LABELS = map(np.load, {!r})'.format(paths)))
