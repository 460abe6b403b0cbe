"""Values of variables."""


def load(values, session):
    """Loads {variable: array} in one run; TensorFlow would prepare the graph again for every `variable.load`."""
    feed = {variable.initializer.inputs[1]: value for variable, value in values.items()}
    assert len(feed) == len(values), 'variables with one initial value'
    session.run([variable.initializer for variable in values], feed)
