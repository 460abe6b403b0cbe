"""QuantizeError, and the codes of all errors.

The text of an error has the three parts that the user guide of Vitis AI (UG1414) documents: `[code][summary] detail`. The codes
of the guide keep its spelling; the others follow it.
"""
import difflib
from typing import Callable, Iterable, Tuple, Type

INVALID_INPUT = 'Quantize_TF1_Invalid_Input'
INVALID_BITWIDTH = 'Quantize_TF1_Invalid_Bitwidth'
INVALID_METHOD = 'Quantize_TF1_Invalid_Method'
LENGTH_MISMATCH = 'Quantize_TF1_Length_Mismatch'
INVALID_INPUT_FN = 'Quantize_TF1_Invalid_Input_Fn'
INVALID_TARGET_DTYPE = 'Quantize_TF1_Invalid_Target_Dtype'
UNSUPPORTED_OP = 'Quantize_TF1_Unsupported_Op'
INVALID_CONFIG = 'Quantize_TF1_Invalid_Config'
UNKNOWN_NODE = 'Quantize_TF1_Unknown_Node'
EMPTY_RANGE = 'Quantize_TF1_Empty_Range'
ALREADY_QUANTIZED = 'Quantize_TF1_Already_Quantized'
NOT_QUANTIZED = 'Quantize_TF1_Not_Quantized'
GRAPH_FINALIZED = 'Quantize_TF1_Graph_Finalized'
GRAPH_HAS_GRADIENTS = 'Quantize_TF1_Graph_Has_Gradients'
LEARNING_PHASE = 'Quantize_TF1_Learning_Phase'
UNSUPPORTED_GRAPH = 'Quantize_TF1_Unsupported_Graph'
MISSING_QUANTIZE_INFO = 'Quantize_TF1_Missing_Quantize_Info'
MISSING_LIBRARY = 'Quantize_TF1_Missing_Library'
COMPILER_RULES = 'Quantize_TF1_Compiler_Rules'
NOT_FINITE = 'Quantize_TF1_Not_Finite'
OUT_OF_MEMORY = 'Quantize_TF1_Out_Of_Memory'
INTERNAL_ERROR = 'Quantize_TF1_Internal_Error'


class QuantizeError(ValueError):
    """An input that cannot be processed as requested.

    Attributes:
      code: one of the constants of this module.
      summary: the problem in two or three words, such as 'Not found'.
      detail: which node or value, what was expected, and what to do about it.
    """

    def __init__(self, code: str, summary: str, detail: str) -> None:
        self.code = code
        self.summary = summary
        self.detail = detail
        super().__init__('[{}][{}] {}'.format(code, summary, detail))

    def __reduce__(self) -> Tuple[Type['QuantizeError'], Tuple[str, str, str]]:
        return type(self), (self.code, self.summary, self.detail)


def did_you_mean(name: str, known: Iterable[str], most: int = 3, shown: Callable[[str], str] = repr) -> str:
    """The end of a message about an unknown name: '; did you mean ...?' with up to `most` similar names, or ''."""
    close = difflib.get_close_matches(name, known, n=most)
    return '; did you mean {}?'.format(' or '.join(map(shown, close))) if close else ''
