"""The how-to page on ONNX runs, and its model has the inputs and outputs that the page names."""
import importlib.util
import re

import pytest

from tests.docs.pages import Page
from tests.docs.test_post_training import trained  # noqa: F401

PAGE = 'how_to/onnx.md'


@pytest.mark.skipif(importlib.util.find_spec('tf2onnx') is None, reason='no tf2onnx')
def test_page(trained, forked_python):  # noqa: F811
    printed = Page(PAGE).run(trained, forked_python)
    import onnx
    model = onnx.load(str(trained / 'quantize_results' / 'quantize_eval_model.onnx'))
    assert [node.name for node in model.graph.input] == ['image:0']
    assert [node.name for node in model.graph.output] == ['logits/BiasAdd/aquant:0']
    assert {node.domain for node in model.graph.node} <= {'', 'ai.onnx'}
    percent, = re.findall(r'(\d+\.\d)% right', ''.join(printed.values()))
    assert float(percent) > 93
