"""Who we are to an API server of Kubernetes, by the official package.

Its models and the signatures of its calls change from version to version; what is used of it here has not since version 12.
"""

import importlib
import re
import warnings
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

from jobsys.errors import UsageError
from jobsys.late import Logger

logger = Logger(__name__)

_IN_POD: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
_unverified: set[str] = set()


class Login(NamedTuple):
    """The package's configuration, its pool of connections, and the namespace that goes with them; empty: none does."""

    configuration: Any
    pool: Any
    namespace: str


def log_in(kubeconfig: str, context: str) -> Login:
    """Read who we are; empty: what KUBECONFIG or ``~/.kube/config`` say, or else the pod in which this process runs.

    Raises:
        UsageError: that can't be read, or the package is missing.
    """
    client, config = _package()
    configuration = client.Configuration()
    namespace = _configure(config, configuration, kubeconfig or None, context or None)
    if not configuration.verify_ssl:
        _warn_once(configuration.host)
    return Login(configuration, importlib.import_module("kubernetes.client.rest").RESTClientObject(configuration).pool_manager, namespace)


def _configure(config: Any, configuration: Any, kubeconfig: str | None, context: str | None) -> str:
    try:
        config.load_kube_config(kubeconfig, context, configuration, persist_config=False)
        contexts, current = config.list_kube_config_contexts(kubeconfig)
        chosen = next((one for one in contexts if one["name"] == context), current)
        return str(chosen["context"].get("namespace") or "")
    except config.ConfigException as error:
        if kubeconfig is not None or context is not None or not _IN_POD.exists():
            way = "give --batch-option kubeconfig=FILE, or set KUBECONFIG; `kubectl get pods` tells whether that works"
            raise UsageError(f"Kubernetes can't be reached: {error}: {way}") from error
    config.load_incluster_config(client_configuration=configuration)
    return _IN_POD.read_text().strip()


def _package() -> tuple[Any, Any]:
    """Load the official package, which takes its time."""
    try:
        return importlib.import_module("kubernetes.client"), importlib.import_module("kubernetes.config")
    except ModuleNotFoundError as error:
        raise UsageError("--batch-system kubernetes needs a package more: pip install 'jobsys[kubernetes]'") from error


def _warn_once(server: str) -> None:
    """Say that nobody knows who answers, which urllib3 would say at each request."""
    if server not in _unverified:
        _unverified.add(server)
        logger.warning("the certificate of Kubernetes at %s is not verified, as the kubeconfig says", server)
    host = re.escape(urlsplit(server).hostname or server)
    category = importlib.import_module("urllib3").exceptions.InsecureRequestWarning
    warnings.filterwarnings("ignore", f"Unverified HTTPS request is being made to host '{host}'", category)
