import glob
import os
import shutil

import pytest

from tests.kernels.building import KERNELS


@pytest.fixture(scope='session')
def build(tmp_path_factory):
    """One build directory for all tests, with the objects that exist already, because each takes seconds to compile."""
    directory, objects = str(tmp_path_factory.mktemp('tests') / 'build'), os.path.join(KERNELS, 'build')
    if os.path.isdir(objects):
        shutil.copytree(objects, directory)  # with their times
        for path in glob.glob(os.path.join(directory, '*.d')):
            with open(path) as stream:
                rules = stream.read()
            with open(path, 'w') as stream:
                stream.write(rules.replace(objects, directory))
    else:
        os.mkdir(directory)
    return directory
