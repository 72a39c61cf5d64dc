"""Classes that no import finds travel as what they are made of: nested classes, those of the ``__main__`` guard, those of a session.

A class that was taken apart is known again: what comes back to the process that made it is of the very same class.
"""

import abc
import dataclasses
import enum
import functools
import secrets
import types
import typing
from typing import Any, Final
from weakref import WeakKeyDictionary, WeakSet, WeakValueDictionary

from jobsys import closures, session

_names: Final[WeakKeyDictionary[type, str]] = WeakKeyDictionary()
_known: Final[WeakValueDictionary[str, type]] = WeakValueDictionary()
_whole: Final[WeakSet[type]] = WeakSet()
_NOT_TAKEN: Final = frozenset({"__dict__", "__weakref__", "_abc_impl", "__slots__", "__module__", "__orig_bases__", "__classdictcell__"})
_MADE_BY_ENUM: Final = frozenset(
    {"_member_names_", "_member_map_", "_value2member_map_", "_unhashable_values_", "_hashable_values_", "_unhashable_values_map_"}
    | {"_member_type_", "_value_repr_", "_new_member_", "_use_args_", "_generate_next_value_", "__new__", "__new_member__", "_boundary_"}
    | {"_flag_mask_", "_all_bits_", "_singles_mask_", "_inverted_"}
)
_SENTINELS: Final = {id(value): name for name, value in vars(dataclasses).items() if type(value).__module__ == "dataclasses"}


def reduced(value: Any) -> Any:
    """Say how what has no name of its own travels; NotImplemented leaves everything else to pickle."""
    kind = type(value)
    reduce = _REDUCERS.get(kind)
    if reduce is not None:
        return reduce(value)
    if issubclass(kind, type) and not closures.importable(value):
        return _reduced_class(value)
    return NotImplemented


def _reduced_class(kind: type) -> Any:
    if kind.__module__ == "builtins" or not kind.__flags__ & 1 << 9:  # Py_TPFLAGS_HEAPTYPE: made by Python code
        return NotImplemented
    name = _names.get(kind)
    if name is None:
        _names[kind] = name = secrets.token_hex(8)
        _known[name] = kind
        _whole.add(kind)
    in_session = session.current() is not None and session.name_of(kind) is not None
    complete = _complete_session_class if in_session else _complete
    facts = {key: vars(kind)[key] for key in ("__module__", "__orig_bases__") if key in vars(kind)} | {"__qualname__": kind.__qualname__}
    if isinstance(kind, enum.EnumMeta):
        enumeration: Any = kind
        members = {key: member.value for key, member in enumeration.__members__.items()}
        state = {key: part for key, part in vars(kind).items() if key not in _NOT_TAKEN | _MADE_BY_ENUM | members.keys()}
        return _class, (name, type(kind), kind.__name__, kind.__bases__, facts | members), state, None, None, complete
    slots = vars(kind).get("__slots__")
    if slots is not None:
        facts["__slots__"] = slots
    dropped = _NOT_TAKEN | ({slots} if isinstance(slots, str) else set(slots or ()))
    state = {key: part for key, part in vars(kind).items() if key not in dropped and not isinstance(part, types.GetSetDescriptorType)}
    bases = tuple(base for base in kind.__bases__ if base is not dict) if typing.is_typeddict(kind) else kind.__bases__
    return _class, (name, type(kind), kind.__name__, bases, facts), state, None, None, complete


def _class(known_as: str, meta: type, name: str, bases: tuple[type, ...], facts: dict[str, Any]) -> type:
    known = _known.get(known_as)
    if known is not None:
        return known
    if issubclass(meta, enum.EnumMeta):
        space: Any = meta.__prepare__(name, bases)
        for key, fact in facts.items():
            space[key] = fact
        made: type = meta(name, bases, space)
    else:
        made = types.new_class(name, bases, {"metaclass": meta}, lambda space: space.update(facts))
    _names[made], _known[known_as] = known_as, made
    return made


def _complete(made: type, state: dict[str, Any]) -> None:
    if made in _whole:
        return
    _whole.add(made)
    for name, part in state.items():
        setattr(made, name, part)
        if hasattr(part, "__set_name__"):
            part.__set_name__(made, name)
    abc.update_abstractmethods(made)


def _complete_session_class(made: type, state: dict[str, Any]) -> None:
    _complete(made, state)
    if session.is_started() and "." not in made.__qualname__:
        session.bring({made.__qualname__: made})


def _sentinel(name: str) -> Any:
    return getattr(dataclasses, name)


def _reduced_sentinel(value: Any) -> Any:
    name = _SENTINELS.get(id(value))
    return NotImplemented if name is None else (_sentinel, (name,))


def _reduced_session_name(value: Any) -> Any:
    """Take apart what pickle knows by a name of ``__main__`` only, where that is a session."""
    if session.current() is None or value.__module__ != "__main__":
        return NotImplemented
    known = session.name_of(value)
    if known is not None and session.travels_by_name(known):
        return NotImplemented
    if isinstance(value, functools._lru_cache_wrapper):
        return _memoized, (value.__wrapped__, value.cache_parameters())
    arguments: tuple[Any, ...] = (value.__name__,)
    options: dict[str, Any] = {}
    if isinstance(value, typing.NewType):
        arguments += (value.__supertype__,)
    elif isinstance(value, typing.TypeVar):
        arguments += value.__constraints__
        options = {"bound": value.__bound__, "covariant": value.__covariant__, "contravariant": value.__contravariant__}
    elif isinstance(value, typing.ParamSpec):
        options = {"bound": value.__bound__, "covariant": value.__covariant__, "contravariant": value.__contravariant__}
    return _typing_name, (type(value), arguments, options)


def _memoized(function: Any, parameters: dict[str, Any]) -> Any:
    return functools.lru_cache(**parameters)(function)


def _typing_name(kind: type, arguments: tuple[Any, ...], options: dict[str, Any]) -> Any:
    known = session.found(arguments[0])
    if type(known) is kind:
        return known
    made = kind(*arguments, **options)
    made.__module__ = "__main__"
    session.bring({arguments[0]: made})
    return made


def _proxy(content: dict[Any, Any]) -> Any:
    return types.MappingProxyType(content)


def _cached(function: Any) -> Any:
    return functools.cached_property(function)


_REDUCERS: Final[dict[type, Any]] = {
    types.FunctionType: closures.reduced,
    types.CellType: closures.reduced,
    types.ModuleType: closures.reduced,
    classmethod: lambda value: (classmethod, (value.__func__,)),
    staticmethod: lambda value: (staticmethod, (value.__func__,)),
    property: lambda value: (property, (value.fget, value.fset, value.fdel, value.__doc__)),
    functools.cached_property: lambda value: (_cached, (value.func,)),
    types.MappingProxyType: lambda value: (_proxy, (dict(value),)),
    functools._lru_cache_wrapper: _reduced_session_name,
    typing.NewType: _reduced_session_name,
    typing.TypeVar: _reduced_session_name,
    typing.TypeVarTuple: _reduced_session_name,
    typing.ParamSpec: _reduced_session_name,
    **{type(getattr(dataclasses, name)): _reduced_sentinel for name in _SENTINELS.values()},
}
