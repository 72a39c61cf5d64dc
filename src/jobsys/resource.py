"""Code on its way to the workers: resources in a job store, and the modules in them. Its public names are fixed by the specification.

On the leader a module is found (``ModuleDescriptor.forModule``) and saved (``saveAsResourceTo``); the resource travels to the worker as
four words. There it is registered in the environment, downloaded once a host, and the module is loaded from it.

What is saved is named by its content, so saving the same thing again, from anywhere, uploads nothing. ``contentHash`` is the MD5 of a
file, or of a directory's manifest (``tree.py``); the URL carries, as ``#sha256=``, the SHA-256 of the same. Both must be right before
anything that was downloaded can be seen. A copy that is there already is looked at again before each use (``kept.harm``).
"""

import importlib
import os
import shutil
import stat
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from hashlib import md5
from types import ModuleType
from typing import BinaryIO, Final, NamedTuple, Protocol, Self
from urllib.parse import parse_qs, urlencode, urlsplit

import msgspec

from jobsys.cache import is_cache
from jobsys.digest import ContentDigest, chunks
from jobsys.errors import JobsysError, StorageError
from jobsys.fetch import Wanted, digested, obtain
from jobsys.kept import MANIFEST, SEALED
from jobsys.late import Logger
from jobsys.manifest import ChangedError, PackageError, is_inside
from jobsys.modules import (
    LEADER_FILE,
    SITE_PACKAGES,
    Origin,
    collision,
    find_file,
    import_root,
    is_from_virtualenv,
    load_archive,
    load_file,
    loaded_beside,
    loaded_name,
    main_archive,
    make_importable,
    origins,
    remember,
    script_name,
    script_path,
)
from jobsys.package import pack
from jobsys.scan import read_tree
from jobsys.tree import Tree, is_system_directory, needed_abi

logger = Logger(__name__)


class ResourceException(JobsysError):
    """Code can't be shipped or loaded; the message names the file, the cause and the way out."""


class SharedFiles(Protocol):
    """What a resource needs of a job store."""

    def write_shared_file(self, name: str) -> AbstractContextManager[BinaryIO]:
        """Write a file of that name as a stream; it is there, whole, after a clean exit."""

    def shared_file_exists(self, name: str) -> bool:
        """Tell whether there is one."""

    def shared_file_url(self, name: str) -> str:
        """Give a ``file:`` or ``http(s):`` URL from which a worker can fetch it."""


class _Registered(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A resource as it stands in the environment."""

    kind: str
    name: str
    pathHash: str
    url: str
    contentHash: str


@contextmanager
def explained(path: str) -> Iterator[None]:
    """Say of an error what it was that could not be shipped."""
    try:
        yield
    except (PackageError, OSError) as error:
        raise ResourceException(f"{path} can't be shipped: {error}") from error


class Resource(NamedTuple("Resource", [("name", str), ("pathHash", str), ("url", str), ("contentHash", str)])):
    """A file or directory of the leader that every worker gets before it runs a job of the script."""

    __slots__ = ()

    resourceEnvNamePrefix = "JTRES_"
    rootDirPathEnvName = resourceEnvNamePrefix + "ROOT"

    @classmethod
    def create(cls, jobStore: SharedFiles, leaderPath: str) -> "Resource":
        """Save a file or directory of the leader to a job store, unless the same content is there already.

        Raises:
            ResourceException: it can't be read, or is no project but a directory of the system.
        """
        kind = cls if cls is not Resource else DirectoryResource if os.path.isdir(leaderPath) else FileResource
        return kind._save(jobStore, os.fspath(leaderPath))

    @classmethod
    def _save(cls, jobStore: SharedFiles, leaderPath: str) -> "Resource":
        raise NotImplementedError

    @classmethod
    def prepareSystem(cls) -> None:
        """Make this worker's directory for resources, unless there is one."""
        if not os.path.isdir(os.environ.get(cls.rootDirPathEnvName, "")):
            os.environ[cls.rootDirPathEnvName] = tempfile.mkdtemp(prefix="jobsys-code-")

    @classmethod
    def cleanSystem(cls) -> None:
        """Remove this worker's directory for resources, but not the host's cache, and forget all that are registered."""
        root = os.environ.get(cls.rootDirPathEnvName)
        for name in [name for name in os.environ if name.startswith(cls.resourceEnvNamePrefix)]:
            del os.environ[name]
        if root and not is_cache(root):
            shutil.rmtree(root, ignore_errors=True)

    def register(self) -> None:
        """Let ``lookup`` find this resource, in this process and those it starts."""
        os.environ.update(self.registration())

    def registration(self) -> dict[str, str]:
        """Give the environment variable that registers this resource, for another process."""
        kind = next(name for name, each in _KINDS.items() if type(self) is each)
        return {self.resourceEnvNamePrefix + self.pathHash: msgspec.json.encode(_Registered(kind, *self)).decode()}

    @classmethod
    def registerAll(cls, environment: Mapping[str, str]) -> None:
        """Register here what ``registration`` gave elsewhere; other variables are left alone."""
        for name, value in environment.items():
            if name.startswith(cls.resourceEnvNamePrefix) and name != cls.rootDirPathEnvName:
                os.environ[name] = value

    @classmethod
    def lookup(cls, leaderPath: str) -> "Resource | None":
        """Find the resource of a path on the leader, which need not exist here; None if none is registered.

        Raises:
            ResourceException: what is registered under that path is no resource.
        """
        variable = cls.resourceEnvNamePrefix + _path_hash(leaderPath)
        text = os.environ.get(variable)
        if text is None:
            return None
        try:
            kind, *fields = msgspec.structs.astuple(msgspec.json.decode(text, type=_Registered))
            return _KINDS[kind](*fields)
        except (msgspec.MsgspecError, KeyError) as error:
            raise ResourceException(f"The environment variable {variable} names no resource: {error}. Unset it, or start anew.") from error

    def download(self, callback: Callable[[str], None] | None = None) -> None:
        """Have this resource at ``localPath``, whole and unchanged; call this only after ``prepareSystem``.

        In a cache, it stays there as long as this process or a fork of it lives.

        Args:
            callback: is called with the new directory before it gets its final name, and not at all if it was there already.

        Raises:
            ResourceException: it can't be had, or what is at its URL is not what was saved.
        """
        facts = self._facts
        wanted = Wanted(
            self.url, self.name, self.contentHash, facts.get("sha256"), isinstance(self, DirectoryResource), facts.get("mode") == "x"
        )
        try:
            obtain(wanted, self.localDirPath, callback)
        except (StorageError, PackageError, OSError) as error:
            raise ResourceException(f"The resource {self.name} can't be downloaded: {error}") from error

    @property
    def localPath(self) -> str:
        """Get the path of this resource on the worker; ``download`` makes it exist."""
        raise NotImplementedError

    @property
    def localDirPath(self) -> str:
        """Get the directory on the worker that holds this resource, its manifest, and nothing else."""
        root = os.environ.get(self.rootDirPathEnvName)
        if not root:
            raise ResourceException(f"There is no place for the resource {self.name} here; call Resource.prepareSystem() first.")
        digest = self._facts.get("sha256", self.contentHash)
        fine = self.name not in {"", ".", "..", MANIFEST, SEALED, LEADER_FILE} and not {"/", "\0"} & set(self.name)
        if not fine or not digest.isalnum():
            raise ResourceException(f"{self!r} has an unsafe name or hash; it was not made by jobsys.")
        return os.path.join(root, f"{digest}-{_path_hash(self.name)[:8]}")

    @classmethod
    def of_path(cls, leaderPath: str, name: str, url: str, contentHash: str) -> Self:
        """Make the resource of a path on the leader that was saved before."""
        return cls(name, _path_hash(leaderPath), url, contentHash)

    @property
    def sha256(self) -> str:
        """Get the SHA-256 of a file's content, or of a directory's manifest."""
        return self._facts["sha256"]

    @property
    def _facts(self) -> dict[str, str]:
        return {key: values[-1] for key, values in parse_qs(urlsplit(self.url).fragment).items()}

    @classmethod
    def _stored(cls, jobStore: SharedFiles, path: str, name: str, hashes: tuple[str, str], write: Callable[[BinaryIO, bool], None]) -> str:
        """Write what is not in the store yet and give its URL."""
        shared = f"resources/{hashes[1]}{name}"
        if jobStore.shared_file_exists(shared):
            logger.debug("%s is in the job store already, as %s", path, shared)
        else:
            crosses_network = urlsplit(jobStore.shared_file_url(shared)).scheme != "file"
            with jobStore.write_shared_file(shared) as stream:
                write(stream, crosses_network)
        return jobStore.shared_file_url(shared)


class FileResource(Resource):
    """A resource read from a file on the leader."""

    __slots__ = ()

    @classmethod
    def _save(cls, jobStore: SharedFiles, leaderPath: str) -> Resource:
        with explained(leaderPath):
            mode = os.stat(leaderPath).st_mode
            if not stat.S_ISREG(mode):
                raise ResourceException(f"{leaderPath} can't be shipped as a file: it is none.")
            digest = _copy(leaderPath, None)

        def write(stream: BinaryIO, _: bool) -> None:
            if _copy(leaderPath, stream).sha256 != digest.sha256:
                raise ResourceException(f"{leaderPath} changed while it was being saved. Keep it still and start again.")

        url = cls._stored(jobStore, leaderPath, "", (digest.md5, digest.sha256), write)
        facts = {"sha256": digest.sha256} | ({"mode": "x"} if mode & stat.S_IXUSR else {})
        return cls(os.path.basename(leaderPath), _path_hash(leaderPath), f"{url}#{urlencode(facts)}", digest.md5)

    @property
    def localPath(self) -> str:
        """Get the path of the file on the worker."""
        return os.path.join(self.localDirPath, self.name)


class DirectoryResource(Resource):
    """A resource read from a directory on the leader, be it a package or not; the URL points to a ZIP archive of it."""

    __slots__ = ()

    @classmethod
    def _save(cls, jobStore: SharedFiles, leaderPath: str) -> Resource:
        if is_system_directory(leaderPath):
            raise ResourceException(
                f"{leaderPath} won't be shipped: it is a directory of the system, or one that holds more than this project. "
                "Move the code into a directory of its own."
            )
        return cls._save_tree(jobStore, leaderPath, leaderPath)

    @classmethod
    def _save_tree(cls, jobStore: SharedFiles, leaderPath: str, root: str, only: Collection[str] | None = None) -> Self:
        """Save a directory, or some names in it, as the resource of ``leaderPath``."""
        name = os.path.basename(os.path.abspath(root))
        with explained(root):
            return cls.of_tree(jobStore, leaderPath, name, lambda: read_tree(root, only))[0]

    @classmethod
    def of_tree(cls, jobStore: SharedFiles, leaderPath: str, name: str, read: Callable[[], Tree], tries: int = 5) -> tuple[Self, Tree]:
        """Save a tree as the resource of ``leaderPath``; read it again if it changed meanwhile, as one does in which somebody works.

        Raises:
            PackageError: it can't be read, or does not keep still.
        """
        tree = read()

        def write(stream: BinaryIO, compress: bool) -> None:
            pack(tree, stream, compress=compress)

        try:
            url = cls._stored(jobStore, name, ".zip", (tree.md5, tree.sha256), write)
        except ChangedError:
            if tries == 1:
                raise
            time.sleep(0.02)
            return cls.of_tree(jobStore, leaderPath, name, read, tries - 1)
        return cls._described(leaderPath, name, url, (tree.md5, tree.sha256), needed_abi(tree)), tree

    @classmethod
    def of_saved(cls, jobStore: SharedFiles, leaderPath: str, name: str, hashes: tuple[str, str], abi: str) -> Self | None:
        """Give the resource of a tree whose digests and ABI are known; None if it is not in the job store."""
        shared = f"resources/{hashes[1]}.zip"
        if not jobStore.shared_file_exists(shared):
            return None
        return cls._described(leaderPath, name, jobStore.shared_file_url(shared), hashes, abi)

    @classmethod
    def _described(cls, leaderPath: str, name: str, url: str, hashes: tuple[str, str], abi: str) -> Self:
        facts = {"sha256": hashes[1]} | ({"abi": abi} if abi else {})
        return cls(name, _path_hash(leaderPath), f"{url}#{urlencode(facts)}", hashes[0])

    def download(self, callback: Callable[[str], None] | None = None) -> None:
        """Have the directory at ``localPath``, whole and unchanged; call this only after ``prepareSystem``.

        Raises:
            ResourceException: it can't be had, is not what was saved, or has extension modules for another Python than this one.
        """
        needed, ours = self._facts.get("abi"), sysconfig.get_config_var("EXT_SUFFIX")
        if needed not in {None, ours}:
            raise ResourceException(
                f"The resource {self.name} holds extension modules for {needed}, but this worker's Python loads {ours}. "
                "Start workers with the leader's version of Python."
            )
        super().download(callback)

    @property
    def localPath(self) -> str:
        """Get the path of the directory on the worker."""
        return os.path.join(self.localDirPath, self.name)


class VirtualEnvResource(DirectoryResource):
    """A resource read from a virtual environment on the leader: all that is in its ``site-packages``."""

    __slots__ = ()

    @classmethod
    def _save(cls, jobStore: SharedFiles, leaderPath: str) -> Resource:
        if os.path.basename(os.path.abspath(leaderPath)) not in SITE_PACKAGES:
            raise ResourceException(f"{leaderPath} can't be shipped as a virtual environment: give the path of its site-packages.")
        return super()._save(jobStore, leaderPath)


_KINDS: Final[dict[str, type[Resource]]] = {"file": FileResource, "directory": DirectoryResource, "virtualenv": VirtualEnvResource}


def _path_hash(path: str) -> str:
    return md5(os.fsencode(path), usedforsecurity=False).hexdigest()


def _copy(path: str, stream: BinaryIO | None) -> ContentDigest:
    digest = ContentDigest()
    with open(path, "rb", buffering=0) as source:
        for piece in digested(chunks(source), digest):
            if stream is not None:
                stream.write(piece)
    return digest


class ModuleDescriptor(NamedTuple("ModuleDescriptor", [("dirPath", str), ("name", str), ("fromVirtualEnv", bool)])):
    """A module: the directory that must be in ``sys.path``, its full name, and whether a virtual environment holds it.

    >>> ModuleDescriptor.forModule('jobsys.resource')  # doctest: +ELLIPSIS
    ModuleDescriptor(dirPath='/.../src', name='jobsys.resource', fromVirtualEnv=False)
    """

    __slots__ = ()

    @classmethod
    def forModule(cls, name: str) -> Self:
        """Describe a module that is loaded; ``__main__`` is described by the name under which it can be imported.

        Raises:
            ResourceException: it has no file, or a script has the name of another module.
        """
        module = sys.modules.get(name)
        if module is None:
            raise ResourceException(f"The module {name} is not loaded; import it first.")
        if name == "__main__":
            spec = getattr(module, "__spec__", None)
            if spec is None or spec.name == "__main__":
                return cls._for_script(module)
            name = spec.name
        root = import_root(module, name)
        if root is None:
            place = getattr(module, "__file__", None)
            raise ResourceException(
                f"The module {name} can't be shipped: "
                + (f"its file is {place}, which does not fit its name." if place else "it has no file. Save its code in one.")
            )
        return cls(root, name, is_from_virtualenv(root))

    @classmethod
    def _for_script(cls, module: ModuleType) -> Self:
        archive = main_archive(module)
        if archive is not None:
            return cls(archive, "__main__", False)
        path = script_path(module)
        if path is None:
            raise ResourceException(
                "Code that was typed into an interactive session or a notebook, or given with -c, can't be shipped: it is in no file. "
                "Save it in a file, and run or import that."
            )
        name = script_name(path)
        other = collision(name, path) if name.isidentifier() and name != "__main__" else None
        if other:
            raise ResourceException(f"The script {path} has the name of another module, {other}, which would hide it. Rename the script.")
        return cls(os.path.dirname(path), name, False)

    @property
    def belongsToJobsys(self) -> bool:
        """Tell whether this is a module of jobsys itself, which every worker has and which is never shipped."""
        return self.name == "jobsys" or self.name.startswith("jobsys.")

    @property
    def _package_path(self) -> str:
        return os.path.join(self.dirPath, self.name.partition(".")[0])

    def saveAsResourceTo(self, jobStore: SharedFiles) -> Resource | None:
        """Save what is needed to import this module: the environment, its package, or a script's directory; None for jobsys' own.

        With a package go the modules beside it that this process has loaded. From a directory that holds more than one project (such as
        ``/tmp`` or a home) go a script and the modules beside it that are loaded, and nothing else.

        Raises:
            ResourceException: it can't be read.
        """
        if self.belongsToJobsys:
            return None
        if self.fromVirtualEnv:
            return VirtualEnvResource.create(jobStore, self.dirPath)
        if os.path.isfile(self.dirPath):  # an importable ZIP archive
            return FileResource.create(jobStore, self.dirPath)
        script = find_file(self.dirPath, self.name)
        shared = os.path.basename(self.dirPath) in SITE_PACKAGES
        beside = set() if shared else loaded_beside(self.dirPath)
        if script is None and os.path.isdir(self._package_path):
            return DirectoryResource._save_tree(jobStore, self._package_path, self.dirPath, {os.path.basename(self._package_path)} | beside)
        if shared or is_system_directory(self.dirPath):
            file = os.path.basename(script or sys.modules[self.name].__file__ or self.name)
            return DirectoryResource._save_tree(jobStore, self.dirPath, self.dirPath, {file} | beside)
        return DirectoryResource.create(jobStore, self.dirPath)

    def localize(self) -> Self:
        """Describe the worker's copy of this module, downloaded if need be; this module itself on the leader, or if it was not saved.

        Raises:
            ResourceException: the resource can't be had.
        """
        root = os.environ.get(Resource.rootDirPathEnvName)
        if root is None or self.belongsToJobsys or is_inside(self.dirPath, root):
            return self
        for path in (self._package_path, self.dirPath):
            if resource := Resource.lookup(path):
                resource.download()
                remember(resource.localDirPath, Origin(path, self.dirPath, self.fromVirtualEnv))
                return self._replace(dirPath=resource.localPath)
        logger.debug("No resource holds the module %s of %s", self.name, self.dirPath)
        return self

    def globalize(self) -> Self:
        """Describe the leader's original of a module of this worker; this module itself if it is none that was localized."""
        for origin in origins(os.path.dirname(self.dirPath)):
            resource = Resource.lookup(origin.resource_path)
            if resource is not None and resource.localPath == self.dirPath:
                return self._replace(dirPath=origin.directory, fromVirtualEnv=origin.from_virtualenv)
        return self

    def load(self) -> ModuleType | None:
        """Import this module, or its worker's copy, by its name.

        Raises:
            ResourceException: this process has loaded another module of that name.
        """
        if self.belongsToJobsys:
            return importlib.import_module(self.name)
        here = self.localize()
        make_importable(here.dirPath, here.fromVirtualEnv)
        if here.name == "__main__" and os.path.isfile(here.dirPath):
            return load_archive(here.dirPath)
        path = find_file(here.dirPath, here.name)
        importable = all(part.isidentifier() for part in here.name.split(".")) and here.name != "__main__"
        if path is not None and not (importable and "." not in here.name and path.endswith((".py", ".pyc"))):
            return load_file(loaded_name(here.name), path)
        module = importlib.import_module(here.name)
        here._check(module)
        return module

    def _check(self, module: ModuleType) -> None:
        """Make sure that an imported module is the one that is meant."""
        path = getattr(module, "__file__", None)
        if path is None or not os.path.exists(self.dirPath):
            return
        if is_inside(os.path.abspath(path), self.dirPath) or is_inside(os.path.realpath(path), os.path.realpath(self.dirPath)):
            return
        problem = f"The module {self.name} was to be loaded from {self.dirPath}, but this process has loaded another one from {path}."
        if not self.fromVirtualEnv:
            raise ResourceException(f"{problem} Rename it, or start a fresh worker.")
        logger.warning(problem)
