"""Invented models, analyses and summaries for reports."""
import math

import numpy as np
import tensorflow.compat.v1 as tf

from vai_q_tf.analysis.results import Analysis, Histogram, TensorError
from vai_q_tf.coverage.summary import Coverage
from vai_q_tf.graph import graphdef_editor as editor
from vai_q_tf.html_report.contents import ReportContents
from vai_q_tf.lint.lint import Finding
from vai_q_tf.summary.results import AidSummary, InputSummary, QuantizeSummary

NASTY = '</script><script>alert("1")</script>&amp;\'"{{7*7}}${8*8}'
BINS = 64


def fix_neuron(name, source, position, bits=8):
    node = tf.NodeDef(name=name, op='FixNeuron', input=[source])
    node.attr['bit_width'].i, node.attr['quantize_pos'].i, node.attr['mode'].i = bits, position, 1
    return node


def node(op, name, *inputs):
    return tf.NodeDef(name=name, op=op, input=inputs)


def layered_model(layers, prefix='layer', skip=7):
    """A quantized GraphDef of `layers` layers of Conv2D, BiasAdd and Relu with three quantized tensors each, an addition after
    every few of them, and a float Softmax at the end."""
    nodes = [node('Placeholder', 'images'), fix_neuron('images/aquant', 'images', 6)]
    last, earlier = 'images/aquant', None
    for number in range(layers):
        name = '{}{}/'.format(prefix, number)
        for parameter, position in (('weights', 7), ('bias', 5)):
            nodes += [editor.constant(name + parameter, np.float32, np.zeros([1], np.float32)),
                      fix_neuron(name + parameter + '/wquant', name + parameter, position)]
        nodes += [node('Conv2D', name + 'Conv2D', last, name + 'weights/wquant'),
                  node('BiasAdd', name + 'BiasAdd', name + 'Conv2D', name + 'bias/wquant'),
                  node('Relu', name + 'Relu', name + 'BiasAdd'), fix_neuron(name + 'Relu/aquant', name + 'Relu', number % 7)]
        last = name + 'Relu/aquant'
        if number % skip == skip - 1:
            if earlier:
                nodes += [node('Add', name + 'add', earlier, last), fix_neuron(name + 'add/aquant', name + 'add', 4)]
                last = name + 'add/aquant'
            earlier = last
    nodes.append(node('Softmax', prefix + 'softmax', last))
    return tf.GraphDef(node=nodes)


def analysis_of(model, bins=BINS):
    """An Analysis of a model with invented errors, the worst first."""
    random, found = np.random.RandomState(3), []
    fix_neurons = [one for one in model.node if one.op == 'FixNeuron']
    activations = [one.name for one in fix_neurons if one.name.endswith('/aquant')]
    for number, one in enumerate(fix_neurons):
        is_weight = one.name.endswith('/wquant')
        values = random.laplace(size=2000) * 20
        step = 2.0**-one.attr['quantize_pos'].i
        counts = [tuple(map(int, np.histogram(array, bins, (-128, 128))[0])) for array in (
            values, np.clip(np.round(values / step) * step, -128 * step, 127 * step))]
        db = 45 - 30 * number / len(fix_neurons) + random.randn() * 2
        found.append(TensorError(
            one.name, one.input[0], 'weight' if is_weight else 'activation', 8, one.attr['quantize_pos'].i, values.min(),
            values.max(), abs(random.randn()) / 1000, 0.02, db, math.inf if is_weight and number % 9 == 0 else db + 8,
            Histogram(-128.0, 128.0, *counts)))
    return Analysis('model.pb', 'float.pb', 4, tuple(sorted(found, key=lambda tensor: tensor.db)), tuple(activations),
                    {'odd/aquant': 'the float graph has no node odd'})


def summary_of(analysis, **changes):
    """A QuantizeSummary with something in every field."""
    found = QuantizeSummary(
        files=(('quantized model', '/results/quantize_eval_model.pb'),),
        coverage=Coverage(('layer0/Conv2D', 'layer1/Conv2D'), ('Conv2D', 'Conv2D'), ('layer0/Conv2D',), 9, (
            ('an op of this type has no rule', ('layersoftmax', 'layer1/Conv2D')),)),
        inputs=(InputSummary('images', -1.0, 255.0, 8, 6, 0.75),), worst=analysis.tensors[:5],
        aids=(AidSummary('bias correction', 20.5, 23.25, True),
              AidSummary('cross-layer equalization', 23.25, 21.0, False, 'worse')),
        findings=(Finding('dead-rule', 'layer0/Relu', 'Write it otherwise.'),),
        differences=(Finding('relu6-limit', 'layer1/Relu', 'Below position 4 it is not 6.'),),
        warnings=('75 % of the input images are out of range.',), next_steps=('Scale the images to [-1, 1].',))
    return found._replace(**changes)


def full_contents(analysis, model=None):
    """ReportContents with something in every field; by default of a model of nine layers."""
    history = [(0, 'a/aquant', 127), (10, 'a/aquant', 5), (0, 'b/wquant', 7), (20, 'a/aquant', 4), (30, 'a/aquant', 5)]
    return ReportContents(
        'Quantization report', model or layered_model(9), None, None, summary_of(analysis), analysis, history,
        {'loss': [(step, 3 / (1 + step)) for step in range(0, 3000)], 'head/loss_1': [(0, 2.0), (3000, math.nan)]}, step=3000,
        ends=(['images'], ['layersoftmax']))


# The texts of a page that stand out from their background by less than 4.5, as WCAG 2 defines contrast.
LOW_CONTRAST = '''(function () {
  function light(colour) {
    var part = colour.match(/[\\d.]+/g).slice(0, 3).map(function (one) {
      var value = one / 255;
      return value <= 0.03928 ? value / 12.92 : Math.pow((value + 0.055) / 1.055, 2.4);
    });
    return 0.2126 * part[0] + 0.7152 * part[1] + 0.0722 * part[2];
  }
  function background(element) {
    for (; element; element = element.parentElement) {
      var colour = getComputedStyle(element).backgroundColor;
      if (!/, 0\\)$/.test(colour)) return colour;
    }
    return 'rgb(255, 255, 255)';
  }
  var low = [];
  document.querySelectorAll('body *').forEach(function (element) {
    var own = Array.from(element.childNodes).some(function (node) { return node.nodeType === 3 && node.textContent.trim(); });
    if (!own || !element.offsetParent || element.closest('.plot')) return;
    var one = light(getComputedStyle(element).color), other = light(background(element));
    if ((Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05) < 4.5) low.push(element.outerHTML.slice(0, 100));
  });
  return low;
})()'''
