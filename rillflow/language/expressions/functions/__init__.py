"""The built-in functions of expressions, by name.

To add one, declare it in the module of its namespace (see `library.py`). A function charges the
meter before it does its work.
"""

from typing import Final

from rillflow.language.expressions.functions.library import Library, LibraryFunction
from rillflow.language.expressions.functions.mathematics import MATHEMATICAL_FUNCTIONS
from rillflow.language.expressions.functions.predicates import PREDICATE_FUNCTIONS
from rillflow.language.expressions.functions.refused import REFUSED_FUNCTIONS
from rillflow.language.expressions.functions.sequences import SEQUENCE_FUNCTIONS
from rillflow.language.expressions.functions.strings import STRING_FUNCTIONS
from rillflow.language.expressions.functions.system import SYSTEM_FUNCTIONS
from rillflow.language.expressions.functions.traversals import TRAVERSAL_FUNCTIONS

_LIBRARIES: Final[tuple[Library, ...]] = (
    SYSTEM_FUNCTIONS,
    SEQUENCE_FUNCTIONS,
    TRAVERSAL_FUNCTIONS,
    PREDICATE_FUNCTIONS,
    STRING_FUNCTIONS,
    MATHEMATICAL_FUNCTIONS,
    REFUSED_FUNCTIONS,
)

FUNCTIONS: Final[dict[str, LibraryFunction]] = {
    function.title: function for library in _LIBRARIES for function in library.functions
}
