"""The import path of `lint` that the guide names."""
from vai_q_tf.lint.lint import Finding, differences, lint

__all__ = ['Finding', 'differences', 'lint']
