"""boto3's client, made as jobsys needs it: one a process, new when the credentials are, right with a clock that is off."""

import base64
import datetime
import hashlib
import io
import logging
import os
from typing import Any, Final

import boto3
import botocore.auth
import botocore.loaders
import botocore.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, NoRegionError

from jobsys.errors import StorageError
from jobsys.storage.s3.options import Options
from jobsys.version import VERSION

CONNECTIONS: Final = 64
_CONNECT: Final = 10  # seconds
_ANSWER: Final = 60
_SMALL: Final = 1 << 20  # bytes of a body that is sent at once; before a larger one the server is asked whether it will take it
_PAYER: Final = "x-amz-request-payer"
_SHIFTED: Final = "jobsys-s3v4"
_AGENT: Final = f"jobsys/{VERSION} Boto3/{boto3.__version__}"  # the one that botocore makes is put together anew for each request
_LOADER: Final = botocore.loaders.create_loader()  # reading the description of S3 takes longer than all else


class Client:
    """The client of this process for one endpoint; a process forked off gets its own, because connections can't be shared."""

    def __init__(self, options: Options) -> None:
        """Make none yet."""
        self._options = options
        self._made: tuple[int, Any] = (0, None)
        self._ahead = 0.0

    def __call__(self) -> Any:
        """Give the client; threads that meet make two at worst.

        Raises:
            StorageError: boto3's configuration makes no sense.
        """
        pid, client = self._made
        if pid != os.getpid():
            client = self._make()
            self._made = (os.getpid(), client)
        return client

    def renew(self) -> None:
        """Look for credentials anew when a client is next asked for."""
        self._made = (0, None)

    def shift(self, seconds: float) -> None:
        """Sign with a time that is so many seconds ahead of this machine's."""
        self._ahead = seconds

    def _make(self) -> Any:
        log = logging.getLogger("botocore")
        if log.level == logging.NOTSET:  # a job that logs all there is would log requests with the user's own key, and signed URLs
            log.setLevel(logging.WARNING)
        session = botocore.session.Session()
        session.register_component("data_loader", _LOADER)
        config = Config(
            connect_timeout=_CONNECT,
            read_timeout=_ANSWER,
            max_pool_connections=CONNECTIONS,
            retries={"total_max_attempts": 1, "mode": "standard"},
            signature_version="s3v4",
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            user_agent=_AGENT,
            s3={"payload_signing_enabled": True},
        )
        try:
            client = _client(boto3.session.Session(botocore_session=session), self._options.endpoint_url or None, config)
        except (BotoCoreError, ValueError) as error:
            raise StorageError(f"S3 can't be used: {error}") from error
        client.meta.events.register("before-call.s3.DeleteObjects", _with_md5)
        client.meta.events.register("request-created.s3.PutObject", _unasked)
        client.meta.events.register("choose-signer.s3", self._choose)
        client.meta.events.register("before-sign.s3.GetObject", _payer_in_url)
        return client

    def _choose(self, signature_version: Any, context: dict[str, Any], **_: Any) -> Any:
        """Have requests signed with a shifted time, where this machine's clock is off."""
        if not self._ahead or signature_version not in {"s3v4", "s3v4-query"}:
            return None
        context["jobsys_ahead"] = self._ahead
        return signature_version.replace("s3v4", _SHIFTED)


def _client(session: Any, endpoint: str | None, config: Config) -> Any:
    try:
        return session.client("s3", endpoint_url=endpoint, config=config)
    except NoRegionError:
        return session.client("s3", endpoint_url=endpoint, config=config, region_name="us-east-1")


def _with_md5(params: dict[str, Any], **_: Any) -> None:
    """Add the one checksum that every server knows, without which some delete nothing."""
    digest = hashlib.md5(params["body"], usedforsecurity=False).digest()
    params["headers"]["Content-MD5"] = base64.b64encode(digest).decode()


def _unasked(request: Any, **_: Any) -> None:
    """Spare a small body the way to the server and back that ``Expect: 100-continue`` takes."""
    if isinstance(request.body, io.BytesIO) and request.body.getbuffer().nbytes <= _SMALL:
        del request.headers["Expect"]


def _payer_in_url(request: Any, signature_version: Any, **_: Any) -> None:
    """Have a signed URL itself say who pays: by botocore's, whoever reads would have to send the header, too."""
    if str(signature_version).endswith("-query") and _PAYER in request.headers:
        request.params[_PAYER] = request.headers[_PAYER]
        del request.headers[_PAYER]


class _Shifted:
    """Signs with the time that the server has."""

    def _modify_request_before_signing(self, request: Any) -> None:
        now = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=request.context["jobsys_ahead"])
        request.context["timestamp"] = now.strftime(botocore.auth.SIGV4_TIMESTAMP)
        super()._modify_request_before_signing(request)  # type: ignore[misc]  # of botocore's class beside this one


class _ShiftedHeader(_Shifted, botocore.auth.S3SigV4Auth):  # type: ignore[misc]  # botocore has no types
    """Signs a request so."""


class _ShiftedQuery(_Shifted, botocore.auth.S3SigV4QueryAuth):  # type: ignore[misc]
    """Signs a URL so."""


botocore.auth.AUTH_TYPE_MAPS[_SHIFTED] = _ShiftedHeader
botocore.auth.AUTH_TYPE_MAPS[f"{_SHIFTED}-query"] = _ShiftedQuery
