"""Wheels and what installs them, for tests that need neither a network nor a second."""

import base64
import csv
import io
import os
import sys
import zipfile
from hashlib import sha256
from pathlib import Path

MINOR = f"python{sys.version_info[0]}.{sys.version_info[1]}"


def _hash(data):
    return "sha256=" + base64.urlsafe_b64encode(sha256(data).digest()).rstrip(b"=").decode()


def wheel(folder, name, version="1.0", files=None, *, requires=(), scripts=None, tag="py3-none-any"):
    """Make a wheel of files by their path (``name-1.0.data/scripts/x`` included); return its path."""
    info = f"{name}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n" + "".join(f"Requires-Dist: {each}\n" for each in requires)
    content = dict({f"{name}/__init__.py": f"version = {version!r}\n"} if files is None else files)
    content[f"{info}/METADATA"] = metadata + "\nWords about it.\nRequires-Dist: not-a-header\n"
    content[f"{info}/WHEEL"] = f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tag}\n"
    if scripts:
        content[f"{info}/entry_points.txt"] = "[console_scripts]\n" + "".join(f"{key} = {value}\n" for key, value in scripts.items())
    path = Path(folder, f"{name}-{version}-{tag}.whl")
    with zipfile.ZipFile(path, "w") as archive:
        for key, value in content.items():
            archive.writestr(key, value)
        rows = "".join(f'"{key}",{_hash(value.encode())},{len(value.encode())}\n' for key, value in content.items())
        archive.writestr(f"{info}/RECORD", f"{rows}{info}/RECORD,,\n")
    return path


def environment(folder):
    """Make what of a virtual environment counts here; return its site-packages."""
    site = Path(folder, "lib", MINOR, "site-packages")
    site.mkdir(parents=True)
    Path(folder, "bin").mkdir()
    Path(folder, "pyvenv.cfg").write_text("home = /usr/bin\n")
    return site


def _target(prefix, site, path, data):
    first, _, rest = path.partition("/")
    if not first.endswith(".data"):
        return site / path, data
    kind, _, inner = rest.partition("/")
    if kind == "scripts":
        if data.startswith(b"#!python"):
            data = f"#!{prefix}/bin/python\n".encode() + data.partition(b"\n")[2]
        return prefix / "bin" / inner, data
    return (prefix if kind == "data" else site) / inner, data


def install(prefix, path):
    """Install a wheel as an installer does: files, scripts that name the interpreter, byte code, RECORD."""
    prefix = Path(prefix)
    site = prefix / "lib" / MINOR / "site-packages"
    rows, info, written = [], "", {}
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            if name.endswith(".dist-info/RECORD"):
                continue
            target, data = _target(prefix, site, name, archive.read(name))
            written[target] = data
            if name.endswith(".dist-info/METADATA"):
                info = os.path.dirname(name)
        if f"{info}/entry_points.txt" in archive.namelist():
            for line in archive.read(f"{info}/entry_points.txt").decode().splitlines()[1:]:
                module, _, function = line.partition("=")[2].strip().partition(":")
                script = f"#!{prefix}/bin/python\nimport sys\nfrom {module} import {function}\nsys.exit({function}())\n"
                written[prefix / "bin" / line.partition("=")[0].strip()] = script.encode()
    written[site / info / "INSTALLER"] = b"a test\n"
    for source in [each for each in written if each.suffix == ".py"]:
        written[source.parent / "__pycache__" / f"{source.stem}.cpython.pyc"] = os.fsencode(source)
    for target, data in written.items():
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
        if target.parent.name == "bin":
            target.chmod(0o755)
        rows.append([os.path.relpath(target, site), _hash(data), len(data)])
    text = io.StringIO(newline="")
    csv.writer(text).writerows([*sorted(rows, reverse=len(str(prefix)) % 2 == 0), [f"{info}/RECORD", "", ""]])
    (site / info / "RECORD").write_text(text.getvalue(), newline="")
    return site / info
