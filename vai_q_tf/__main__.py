# PYTHON_ARGCOMPLETE_OK
"""`python -m vai_q_tf` is the command `vai_q_tensorflow`."""
import sys

from vai_q_tf.cli import main

sys.exit(main())
