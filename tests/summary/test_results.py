"""The dB of a summary; its representations are tested in tests/notebook."""
from tests.summary.test_text import EMPTY
from vai_q_tf.summary.results import AidSummary


def test_the_db_of_the_last_aid():
    kept, reverted = AidSummary('a', 1.0, 2.0, True), AidSummary('b', 2.0, 1.5, False, 'no gain')
    assert EMPTY.db is None
    assert EMPTY._replace(aids=(AidSummary('b', 1.0, 0.5, False, 'no gain'), kept)).db == 2.0
    assert EMPTY._replace(aids=(kept,)).db == EMPTY._replace(aids=(kept, reverted)).db == 2.0
