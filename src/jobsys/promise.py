"""A promise: a handle on a return value that is not there yet. It is data that travels, not a future to wait on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, NoReturn, TypeVar

from jobsys import standins
from jobsys.errors import PromiseError

if TYPE_CHECKING:
    from collections.abc import Hashable

T = TypeVar("T")


class _NoValueYet(PromiseError, AttributeError, TypeError):
    """A promise was used as if it were its value; of the kinds that Python asks for where it looks whether something can be done."""

    __module__, __qualname__ = PromiseError.__module__, PromiseError.__qualname__  # by which people know it

    def __reduce__(self) -> Any:
        return PromiseError, self.args


class Promise(Generic[T]):
    """Stand for the value that a job will return, or for a part of it: ``p[0]["key"]``.

    Pass it to other jobs, anywhere inside their arguments, or return it; whoever receives it receives the value.
    """

    __slots__ = ("_job", "_path")

    def __init__(self, job: Hashable, path: tuple[Any, ...] = ()) -> None:
        """Make a promise of what ``job`` returns; scripts get theirs from calling a job function or ``Job.rv``."""
        self._job = job
        self._path = path

    def __getitem__(self, key: Any) -> Promise[Any]:
        """Promise a part of the value: whatever ``value[key]`` will be."""
        return Promise(self._job, (*self._path, key))

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel as a slot that the receiver fills with the value."""
        return _fulfil, (standins.slot(self._job), self._path)

    def __repr__(self) -> str:
        """Name the job and the path."""
        return f"<promise of {self._job}{''.join(f'[{key!r}]' for key in self._path)}>"

    def __copy__(self) -> Promise[T]:
        """Be the copy, too: it promises the same."""
        return self

    def __deepcopy__(self, memo: object) -> Promise[T]:
        """Be the copy, too, so that what holds promises can be copied, as ``dataclasses.asdict`` does."""
        return self

    __hash__ = object.__hash__

    def __eq__(self, other: object) -> bool:
        """Tell promises apart; refuse to be compared with a value."""
        if not isinstance(other, Promise):
            self._refuse()
        return self is other

    def _refuse(self, *_: object, **__: object) -> NoReturn:
        raise _NoValueYet(
            f"{self!r} has no value yet: pass it to another job (anywhere inside its arguments) and use the value there, or return it; "
            f"a part of it is promised by promise[0] or promise['key']"
        )

    def __getattr__(self, name: str) -> NoReturn:
        """Refuse: the value is not there yet."""
        if name.startswith("__"):
            raise AttributeError(name)
        self._refuse()

    __iter__ = __next__ = __len__ = __bool__ = __int__ = __float__ = __complex__ = __index__ = __contains__ = __call__ = _refuse
    __str__ = __format__ = __bytes__ = __fspath__ = __round__ = __abs__ = __neg__ = __pos__ = __invert__ = __reversed__ = _refuse
    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __rtruediv__ = __floordiv__ = __rfloordiv__ = _refuse
    __mod__ = __rmod__ = __pow__ = __rpow__ = __matmul__ = __rmatmul__ = __divmod__ = __rdivmod__ = __lshift__ = __rshift__ = _refuse
    __and__ = __rand__ = __or__ = __ror__ = __xor__ = __rxor__ = __lt__ = __le__ = __gt__ = __ge__ = _refuse
    __enter__ = __exit__ = __setitem__ = __delitem__ = _refuse


def _fulfil(slot: int, path: tuple[Any, ...]) -> Any:
    """Give the value that a slot stands for; called by unpickling."""
    value = standins.fill(slot)
    for depth, key in enumerate(path):
        try:
            value = value[key]
        except Exception as error:
            where = "".join(f"[{part!r}]" for part in path[: depth + 1])
            raise PromiseError(f"the promise's path {where} does not fit the value: {type(error).__name__}: {error}") from error
    return value


def promise_job(promise: Promise[Any]) -> Any:
    """Tell whose value a promise stands for."""
    return promise._job  # noqa: SLF001
