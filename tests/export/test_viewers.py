"""Viewers open our files: Netron in a browser, and programs that read protocol buffers without our ops."""
import datetime
import http.server
import importlib.util
import os
import re
import subprocess
import threading

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.framework import graph_pb2

from tests.chromium import CHROMIUM, needs_browser
from tests.ptq.networks import Network
from vai_q_tf import QuantizeConfig, quantize_frozen

NETRON = importlib.util.find_spec('netron')
TF2ONNX = importlib.util.find_spec('tf2onnx')
# Netron asks for cookies once, and for a newer Netron half a year after its date.
_PAGE = '''<!DOCTYPE html><body>{}<pre id="seen"></pre><script>
setInterval(function() {{
  document.getElementById('seen').textContent = Array.from(document.getElementsByTagName('iframe')).map(function(frame) {{
    return Array.from(frame.contentDocument.querySelectorAll('text, .message-text')).map(
        function(node) {{ return node.textContent; }}).join('|');
  }}).join('\\n');
}}, 500);
</script></body>'''


@pytest.fixture(scope='module')
def models(tmp_path_factory):
    """{name: bytes} of a network with a convolution and a pool, as pb and, if tf2onnx is installed, onnx."""
    directory = tmp_path_factory.mktemp('models')
    net = Network(size=4)
    result = net.apply(tf.nn.max_pool2d, net.conv(net.input, 4, 'conv'), 2, 2, 'VALID', name='pool')
    config = QuantizeConfig(['input'], [result.op.name], calib_iter=1, output_dir=str(directory))
    found = {}
    for form in ['pb'] + ['onnx'] * bool(TF2ONNX):
        path = quantize_frozen(net.graph_def(), lambda step: {'input': np.ones([1, 4, 4, 3])}, config, effort='fast',
                               output_format=form)
        with open(path, 'rb') as stream:
            found[os.path.basename(path)] = stream.read()
    return found


def _handler(models):
    """Serves Netron, which shows the first, second, .. model at /0/, /1/, .. ; / has all of these."""
    root, names = os.path.dirname(NETRON.origin), sorted(models)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            page, _, name = self.path[1:].partition('?')[0].partition('/')
            content, kind = None, 'text/html'
            if not page:
                content = _PAGE.format(''.join('<iframe src="/{}/" width="1000" height="800"></iframe>'.format(number)
                                               for number in range(len(names)))).encode()
            elif os.path.basename(name) in models:
                content, kind = models[os.path.basename(name)], 'application/octet-stream'
            elif page.isdigit() and os.path.isfile(os.path.join(root, name or 'index.html')):
                with open(os.path.join(root, name or 'index.html'), 'rb') as stream:
                    content = stream.read()
                kind = {'.js': 'text/javascript', '.css': 'text/css'}.get(os.path.splitext(name)[1], kind)
                if not name:
                    content = re.sub('<meta name="date" content=".*?">', '<meta name="date" content="{}">\n'
                                     '<meta name="file" content="/{}/{}">'.format(
                                         datetime.datetime.now().strftime('%Y-%m-%d %H:%M:%S'), page, names[int(page)]),
                                     content.decode()).encode()
            self.send_response(404 if content is None else 200)
            self.send_header('Content-Type', kind)
            self.send_header('Set-Cookie', 'consent=1')
            self.end_headers()
            self.wfile.write(content or b'')

        def log_message(self, *args):
            """Logs nothing."""

    return Handler


class _Server(http.server.HTTPServer):
    def process_request(self, request, address):
        threading.Thread(target=self._process, args=(request, address), daemon=True).start()

    def _process(self, request, address):
        self.finish_request(request, address)
        self.shutdown_request(request)


@pytest.mark.skipif(NETRON is None, reason='Netron is not installed')
@needs_browser
def test_netron_shows_the_nodes(models, tmp_path):
    server = _Server(('127.0.0.1', 0), _handler(models))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        printed = subprocess.run(
            [CHROMIUM, '--headless', '--no-sandbox', '--disable-gpu', '--user-data-dir=' + str(tmp_path),
             '--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1', '--virtual-time-budget=8000', '--dump-dom',
             'http://127.0.0.1:{}/'.format(server.server_address[1])],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=120, check=True).stdout.decode()
    finally:
        server.shutdown()
        server.server_close()
    seen = [line.split('|') for line in printed.partition('<pre id="seen">')[2].partition('</pre>')[0].splitlines()]
    shown = dict(zip(sorted(models), seen))
    pb = shown['quantize_eval_model.pb']
    assert {'Conv2D', 'BiasAdd', 'Relu', 'MaxPool'} <= set(pb) and pb.count('FixNeuron') == 5, shown
    if TF2ONNX:
        assert {'Conv', 'Relu', 'MaxPool', 'Round'} <= set(shown['quantize_eval_model.onnx']), shown


def test_a_reader_without_our_library(models):
    """TensorFlow's protocol buffers alone, without any ops, have all nodes and attrs, and write the same bytes again."""
    graph_def = graph_pb2.GraphDef.FromString(models['quantize_eval_model.pb'])
    found = {node.name: node for node in graph_def.node if node.op == 'FixNeuron'}
    assert sorted(found) == ['conv/Relu/aquant', 'conv/biases/wquant', 'conv/weights/wquant', 'input/aquant', 'pool/aquant']
    assert {node.attr['bit_width'].i for node in found.values()} == {8}
    assert all('quantize_pos' in node.attr and len(node.input) == 1 for node in found.values())
    assert graph_def.SerializeToString(deterministic=True) == models['quantize_eval_model.pb']
