"""Without the packages of the extra `[report]`."""
import importlib
import sys

import pytest
import tensorflow.compat.v1 as tf

from vai_q_tf import errors
from vai_q_tf.html_report.contents import ReportContents
from vai_q_tf.html_report.page import write_report


def test_without_the_packages(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, 'grandalf', None)
    with pytest.raises(errors.QuantizeError, match=r"pip install 'vai_q_tf\[report\]'") as caught:
        write_report(str(tmp_path), 'report.html', ReportContents('Bare', tf.GraphDef()))
    assert caught.value.code == errors.MISSING_LIBRARY and not list(tmp_path.iterdir())


def test_importing_needs_no_packages(monkeypatch):
    for name in ('bokeh', 'jinja2', 'grandalf'):
        monkeypatch.setitem(sys.modules, name, None)
    for name in ('packages', 'contents', 'network', 'layout', 'figures', 'tables', 'facts', 'page'):
        importlib.reload(importlib.import_module('vai_q_tf.html_report.' + name))
