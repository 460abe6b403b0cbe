"""The range of a model, as named or as found."""
from vai_q_tf.html_report.outside import nodes_outside

SOURCES = {'pixels': [], 'scaled': ['pixels'], 'conv': ['scaled'], 'relu': ['conv'], 'dense': ['relu'], 'softmax': ['dense'],
           'argmax': ['softmax']}
WEIGHTED = ('conv', 'dense')


def test_without_ends_it_is_from_the_first_to_the_last_quantized_result():
    assert nodes_outside(SOURCES, ('scaled', 'relu', 'dense'), WEIGHTED) == {'pixels', 'softmax', 'argmax'}
    assert nodes_outside(SOURCES, (), WEIGHTED) == set()


def test_float_layers_with_weights_belong_to_the_network():
    assert nodes_outside(SOURCES, ('scaled', 'relu'), WEIGHTED) == {'pixels'}
    assert nodes_outside(SOURCES, ('relu', 'dense'), WEIGHTED) == {'softmax', 'argmax'}


def test_ends_that_are_named_decide():
    assert nodes_outside(SOURCES, ('relu',), WEIGHTED, (['conv'], ['softmax'])) == {'pixels', 'scaled', 'argmax'}
    assert nodes_outside(SOURCES, ('relu',), WEIGHTED, (['missing'], ['relu'])) == {'dense', 'softmax', 'argmax'}
