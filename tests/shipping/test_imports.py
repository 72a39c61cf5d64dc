"""What sources and functions are seen to import."""

import functools
import types

import pytest

import jobsys
from jobsys.shipping.imports import imported, marked, session_names


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("import a, b.c as d\nfrom e.f import g", "a b e"),
        ("from . import a\nfrom .b import c\nfrom .. import d", ""),
        ("def f():\n  if 0:\n    import late", "late"),
        ("try:\n  import fast\nexcept ImportError:\n  import slow as fast", "fast slow"),
        ("async def f():\n  async with x:\n    from deep import er", "deep"),
        ("import importlib\nimportlib.import_module('called.inside')", "called importlib"),
        ("__import__('dunder'); import_module('bare')", "bare dunder"),
        ("pkgutil.resolve_name('plug.in:Class'); runpy.run_module('ran')", "plug ran"),
        (
            "import_module(name); import_module(f'{x}'); import_module(''); import_module('.rel', 'p'); import_module(3); import_module()",
            "",
        ),
        ("x['import_module']('no')", ""),
        ("import_module(name='by.keyword'); import_module(package='no'); run_module(mod_name='ran')", "by ran"),
        ("if TYPE_CHECKING:\n  import for_types", "for_types"),
        ("match x:\n  case 1:\n    import matched", "matched"),
        ("import a\nimport a.b\nimport a", "a"),
        ("", ""),
    ],
)
def test_imports(source, names):
    assert imported(source.encode()) == tuple(names.split())


@pytest.mark.parametrize(
    ("source", "names"),
    [
        (b"\xef\xbb\xbfimport bom", "bom"),
        ("# -*- coding: latin-1 -*-\nimport latin  # é".encode("latin-1"), "latin"),
        ("# coding: utf-16\nimport a".encode("utf-16"), ""),
        ("import ünï".encode(), "ünï"),
        (b"\xff\xfeimport a", ""),
        (b"# coding: no-such\nimport a", ""),
        (b"import a\0", ""),
        (b"print 'two'\nimport a", ""),
        (b"import a\r\nimport b\rimport c", "a b c"),
        (b"\x7fELF\0\0", ""),
        (b"(" * 5000, ""),
        (b"-" * 200_000 + b"1", ""),
    ],
)
def test_what_is_in_another_encoding_or_no_python(source, names):
    assert imported(source) == tuple(names.split())


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("import a\ntry:\n  import b\nexcept ImportError:\n  import c", "?b ?c a"),
        ("try:\n  import a\nexcept ImportError: pass\ndef f():\n  import a", "a"),
        ("if typing.TYPE_CHECKING:\n  import a\nelse:\n  import b", "?a ?b"),
        ("if sys.version_info < (3, 11):\n  import a\nif sys.platform == 'win32':\n  import b\nif x:\n  import c", "?a ?b c"),
        ("if find_spec('a'):\n  import a", "?a"),
    ],
)
def test_what_a_source_can_do_without_is_marked(source, names):
    assert marked(source.encode()) == tuple(names.split())


@pytest.mark.filterwarnings("error")
def test_warnings_of_other_people_s_sources_are_theirs():
    assert imported(b"'\\d'\nassert (1, 'x')\nimport a\nif x is 3: pass") == ("a",)


# ── sessions ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def typed(text):
    """Give what is defined where ``__main__`` is a session."""
    space = {"__name__": "__main__", "jobsys": jobsys, "functools": functools}
    exec(text, space)
    del space["__builtins__"]
    return space


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("def f():\n  import a.b\n  from c import d\n  return d.data.values", "a c"),
        ("def f():\n  def g():\n    import inner\n  return [lambda: __import__('x.y') for _ in range(3)]", "inner x"),
        ("@jobsys.job\ndef f():\n  import in_job", "in_job"),
        ("def wrap(f):\n  @functools.wraps(f)\n  def g(): return f()\n  return g\n@wrap\ndef f():\n  import wrapped", "wrapped"),
        (
            "class A:\n  def f(self):\n    import a\n  @staticmethod\n  def g():\n    import b\n  @property\n  def p(self):\n    import c",
            "a b c",
        ),
        ("class A:\n  @classmethod\n  def g(cls):\n    import importlib; importlib.import_module('d')", "d importlib"),
        ("import json\nfrom argparse import ArgumentParser\nx = 3", ""),
        ("def f(): return 'words'", ""),
    ],
)
def test_what_a_session_imports_later(text, names):
    assert set(session_names(typed(text).values())) == set(names.split())


def test_values_of_a_session_are_not_asked():
    class Grumbler:
        def __getattribute__(self, name):
            raise RuntimeError(name)

    class Liar:
        function = types.SimpleNamespace(__code__=types.SimpleNamespace(co_names=["no"], co_consts=()))

        def __getattr__(self, name):
            return self

    assert list(session_names([Grumbler(), Liar(), Liar, Grumbler, None, 3])) == []
