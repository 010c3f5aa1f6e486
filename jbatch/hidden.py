"""Fields that the command line does not show: a person's own functions, networks and records."""

from typing import Annotated, TypeVar

from tyro.conf import Suppress
from tyro.constructors import PrimitiveConstructorSpec

Kind = TypeVar("Kind")

# Without it, tyro would look into a value for fields of its own.
_AS_IT_IS = PrimitiveConstructorSpec[object](
    nargs=1,
    metavar="VALUE",
    instance_from_str=lambda texts: texts[0],
    is_instance=lambda value: True,
    str_from_instance=lambda value: ["VALUE"],
)

Hidden = Annotated[Kind, Suppress, _AS_IT_IS]
