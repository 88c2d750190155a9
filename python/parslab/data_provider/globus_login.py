"""Logs in to Globus, for transfers and for Globus Compute, with the library that Globus keeps.

A login happens where the user is: in a cell or in a terminal.  A transfer runs in a thread, where nobody can be asked,
so it uses the tokens that a login has stored, or says how to log in.
"""

from __future__ import annotations

import contextlib
import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from parslab.errors import ConfigurationError, OptionalModuleMissing

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["GlobusAuth", "globus_sdk"]

_APP = "parslab"
_SERVICES = ("transfer", "compute")
_HOW = "run parslab.GlobusAuth().login() in a cell, or `parslab globus login` in a terminal"


def globus_sdk() -> Any:
    """Return the module ``globus_sdk``.

    Raises
    ------
    OptionalModuleMissing
        It is not installed.
    """
    try:
        import globus_sdk
    except ImportError:
        raise OptionalModuleMissing("globus-sdk", "globus") from None
    return globus_sdk


@dataclass(frozen=True)
class GlobusAuth:
    """A login to Globus.

    The tokens of a user go to ``~/.globus/app``, readable by the user only, and are refreshed when they have expired.
    So one login serves all later runs, also of other notebooks on this host.  A client with a secret of its own, which
    is read from ``GLOBUS_CLIENT_SECRET``, needs no login.

    Parameters
    ----------
    client_id
        The number of an application of app.globus.org/settings/developers; None: ``GLOBUS_CLIENT_ID``.
    services
        What the login is for: ``"transfer"``, ``"compute"`` or both.
    collections
        Collections whose files may be read and written only with a consent of their own: those on Globus Connect Server
        whose accounts are mapped.

    Raises
    ------
    ConfigurationError
        A service is not known.

    Examples
    --------
    >>> GlobusAuth(collections=["6c54cade-bde5-45c1-bdea-f4bd71dba2cc"])
    GlobusAuth(client_id=None, services=('transfer',), collections=('6c54cade-bde5-45c1-bdea-f4bd71dba2cc',))
    """

    client_id: str | None = None
    services: tuple[str, ...] = ("transfer",)
    collections: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("services", "collections"):
            value = getattr(self, name)
            object.__setattr__(self, name, (value,) if isinstance(value, str) else tuple(value))
        unknown = [service for service in self.services if service not in _SERVICES]
        if unknown or not self.services:
            raise ConfigurationError(
                f"GlobusAuth: services can be {' and '.join(map(repr, _SERVICES))}, not {unknown or self.services!r}."
            )

    def login(self, force: bool = False) -> None:
        """Show a link and ask for the code that Globus gives; nothing happens when the user is logged in.

        Parameters
        ----------
        force
            Ask in any case, such as for another account.

        Raises
        ------
        ConfigurationError
            Nobody can be asked here, or Globus refuses the code.
        """
        sdk = globus_sdk()
        with self._app() as app, _explained(sdk):
            if not force and not app.login_required():
                return
            if not _can_ask():
                raise ConfigurationError(f"Globus needs a login, and nobody can be asked here: {_HOW}.")
            _protect(app)
            app.login(force=True)
            _protect(app)

    def logout(self) -> None:
        """Revoke the tokens of this application, and remove them from this host.

        Raises
        ------
        ConfigurationError
            Globus cannot be reached.
        """
        with self._app() as app, _explained(globus_sdk()):
            app.logout(sweep=True)

    @property
    def logged_in(self) -> bool:
        """Whether the services can be used now without a login.

        Raises
        ------
        ConfigurationError
            Globus cannot be reached.
        """
        with self._app() as app, _explained(globus_sdk()):
            return not app.login_required()

    @contextlib.contextmanager
    def transfer_client(self) -> Iterator[Any]:
        """Return a ``globus_sdk.TransferClient`` for the block of a ``with`` statement.

        Raises
        ------
        ConfigurationError
            The user is not logged in, or the login has expired.
        """
        sdk = globus_sdk()
        with self._app() as app:
            self._require_login(sdk, app)
            with contextlib.closing(self._transfer_client(sdk, app)) as client, _explained(sdk):
                yield client

    @contextlib.contextmanager
    def _app(self) -> Iterator[Any]:
        sdk = globus_sdk()
        number = self.client_id or os.environ.get("GLOBUS_CLIENT_ID")
        if not number:
            raise ConfigurationError(
                "Globus needs an application: set GLOBUS_CLIENT_ID to one of app.globus.org/settings/developers, or "
                "give GlobusAuth(client_id=...)."
            )
        secret = os.environ.get("GLOBUS_CLIENT_SECRET")
        # The library would ask for a login wherever a token is missing, also in a thread.
        config = sdk.GlobusAppConfig(request_refresh_tokens=True, token_validation_error_handler=None)
        try:
            if secret:
                app = sdk.ClientApp(_APP, client_id=number, client_secret=secret, config=config)
            else:
                app = sdk.UserApp(_APP, client_id=number, config=config)
        except ValueError as error:
            if isinstance(error.__cause__, OSError):
                raise ConfigurationError(f"Globus cannot store the login: {error.__cause__}.") from None
            remove = f"remove ~/.globus/app/{number}/parslab, and {_HOW}"
            raise ConfigurationError(f"The stored login to Globus cannot be read ({error}): {remove}.") from None
        with app:
            if "transfer" in self.services:
                self._transfer_client(sdk, app).close()  # tells the application which consents it needs
            if "compute" in self.services:
                compute = sdk.ComputeClientV2.scopes
                app.add_scope_requirements({compute.resource_server: [compute.all]})
            yield app

    def _transfer_client(self, sdk: Any, app: Any) -> Any:
        client = sdk.TransferClient(app=app)
        if self.collections:
            client.add_app_data_access_scope(self.collections)
        return client

    def _require_login(self, sdk: Any, app: Any) -> None:
        if isinstance(app, sdk.ClientApp):
            return  # it gets its tokens with its secret
        _protect(app)
        with _explained(sdk):
            if app.login_required():
                raise ConfigurationError(f"Globus needs a login: {_HOW}.")


@contextlib.contextmanager
def _explained(sdk: Any) -> Iterator[None]:
    """Turn what Globus refuses into one sentence; an error of the network passes, because it may be over soon."""
    try:
        yield
    except sdk.AuthAPIError as error:
        if error.http_status in (429, 500, 502, 503, 504):
            raise
        content = error.raw_json or {}
        reason = error.message or content.get("error") or error.code or f"HTTP {error.http_status}"
        raise ConfigurationError(f"Globus refuses the login ({reason}): {_HOW}.") from None
    except sdk.login_flows.CommandLineLoginFlowEOFError:
        raise ConfigurationError(f"Globus needs a login, and nobody can be asked here: {_HOW}.") from None


def _protect(app: Any) -> None:
    """Take the rights of others away from a file of tokens; the library protects only files that it makes itself."""
    path = getattr(app.token_storage.token_storage, "filepath", "")
    with contextlib.suppress(FileNotFoundError):
        os.chmod(path, 0o600)


def _can_ask() -> bool:
    """Return whether this process can ask its user something: in a cell, or in a terminal."""
    shell = sys.modules.get("IPython.core.getipython")
    running = shell.get_ipython() if shell is not None else None
    kernel = getattr(running, "kernel", None)
    if kernel is not None:
        return bool(getattr(kernel, "_allow_stdin", False))
    return sys.stdin is not None and sys.stdin.isatty()
