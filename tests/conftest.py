"""Every test starts with an empty default graph and TensorFlow's own log level; property tests are repeatable."""
import gc

import hypothesis
import pytest
from xdist.scheduler.loadfile import LoadFileScheduling

# pytest explains the assertions of helper modules, too, if it hears of them before they are imported.
pytest.register_assert_rewrite('tests')

from tests import quick_tensorflow  # noqa: E402
from tests.forks import Forks  # noqa: E402

import tensorflow as tf  # noqa: E402  # isort: skip  (after its settings)

# Some tests turn them on: tests/same_network for some networks, tests/qat/test_exactness, tests/integrations/test_ways,
# tests/hooks, tests with several devices, and tests that start processes, such as tests/command_line/test_run.
quick_tensorflow.turn_optimizers_off()

hypothesis.settings.register_profile('repeatable', deadline=None, derandomize=True)
hypothesis.settings.load_profile('repeatable')


# Files with few tests that take long. The others start in the order of their numbers of tests.
_LONG = ('examples/test_demo', 'docs/test_training_ways', 'docs/test_post_training', 'same_network/test_random_networks',
         'examples/test_slim_example', 'docs/test_start', 'docs/test_how_to', 'docs/test_training',
         'examples/test_keras_example', 'docs/test_migration', 'benchmarks/test_accuracy', 'plan/test_networks',
         'qat/averages/test_copies', 'hooks/test_restart', 'fuzz/test_fuzz', 'ptq/test_alignment_accuracy',
         'ptq/test_random_networks', 'ptq/effort/test_networks', 'plan/test_plan_properties')


class _LongestFirst(LoadFileScheduling):
    """Starts long files first, so that no process waits at the end for one that started last."""

    def _assign_work_unit(self, node):
        for name in reversed(_LONG):
            path = 'tests/{}.py'.format(name)
            if path in self.workqueue:
                self.workqueue.move_to_end(path, last=False)
        super()._assign_work_unit(node)


def pytest_xdist_make_scheduler(config, log):
    return _LongestFirst(config, log)


def pytest_collection_finish():
    quick_tensorflow.collect_less()


_LOG_LEVEL = tf.get_logger().level


@pytest.fixture(autouse=True)
def empty_default_graph():
    tf.compat.v1.reset_default_graph()


@pytest.fixture(autouse=True)
def log_level():
    """Restores the log level, which a test may change, for example by --debug_mode."""
    tf.get_logger().setLevel(_LOG_LEVEL)


@pytest.fixture(scope='session')
def forked_python(tmp_path_factory):
    """Path of a `python` that starts with TensorFlow imported, and whose sessions do not optimize graphs."""
    forks = Forks(tmp_path_factory.mktemp('forks'))
    yield forks.python
    forks.close()


@pytest.fixture
def garbage_collected():
    """For tests that want no warning: a Keras checkpoint of an earlier test that was not used up warns when it is collected."""
    gc.collect()
