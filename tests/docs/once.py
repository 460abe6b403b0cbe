"""Runs pages of which several continue the same one, and each page only once."""
import shutil

from tests.docs.pages import Page


class Runs:
    """Runs each page in a copy of the directory that the page it continues left behind.

    Args:
      tmp_path_factory: that of pytest.
      python: as in `Page.run`.
    """

    def __init__(self, tmp_path_factory, python):
        self._factory = tmp_path_factory
        self._python = python
        self._ran = {}

    def __call__(self, path):
        """(directory, {line of a block: what it printed}) of a page, by its path in docs/."""
        if path not in self._ran:
            page = Page(path)
            directory = self._factory.mktemp('page') / 'work'
            if page.before:
                shutil.copytree(str(self(page.before)[0]), str(directory))
            else:
                directory.mkdir()
            self._ran[path] = directory, page.run(directory, self._python)
        return self._ran[path]
