"""Settings of a stack: environment ``RILLFLOW_*``, then ``rillflow.toml``, then defaults."""

from pathlib import Path
from typing import Annotated

from pydantic import AliasChoices, Field
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

MEBIBYTE = 1024 * 1024


class Settings(BaseSettings):
    """Everything that can be set; times in seconds, sizes in bytes."""

    model_config = SettingsConfigDict(
        env_prefix="RILLFLOW_", toml_file="rillflow.toml", extra="ignore", frozen=True
    )

    host: str = "127.0.0.1"
    """Address that the HTTP API listens on."""
    port: Annotated[int, Field(ge=1, le=65535)] = 8080
    """Port of the HTTP API."""
    data_dir: Path = Path(".rillflow")
    """Folder of the embedded store."""
    store: str | None = None
    """URL of the store; None is an SQLite file in ``data_dir``."""
    namespace: str = "rillflow"
    """Ray namespace of the actors."""
    execution_actors: Annotated[int, Field(ge=1, le=256)] = 1
    """Ray actors that share the partitions."""
    dispatcher_actors: Annotated[int, Field(ge=1, le=256)] = 1
    """Ray actors that make outbound calls; a gateway host belongs to one of them."""
    replicas: Annotated[int, Field(ge=1)] = 1
    """Serve replicas of the HTTP API."""
    hot_executions: Annotated[int, Field(ge=1)] = 20_000
    """Executions an actor keeps in memory; the others come back on their next event."""

    server_host: str | None = None
    """Where functions reach this server; None is ``http://<host>:<port>``."""
    callback_host: Annotated[
        str | None,
        Field(validation_alias=AliasChoices("RILLFLOW_CALLBACK_HOST", "RILL_FLOW_CALLBACK_URL")),
    ] = None
    """Replaces ``server_host`` in callback addresses (Q54)."""
    auth_secret: Annotated[
        str,
        Field(
            repr=False,
            validation_alias=AliasChoices("RILLFLOW_AUTH_SECRET", "rill_flow_auth_secret_key"),
        ),
    ] = ""
    """Signs callback addresses of the businesses in ``auth_businesses``."""
    auth_businesses: Annotated[tuple[str, ...], NoDecode] = ()
    """Business ids whose callback addresses are signed, comma-separated."""
    plugins: Annotated[tuple[str, ...], NoDecode] = ()
    """Dispatcher plugins by ``module[:attribute]``, comma-separated."""

    connect_timeout_s: Annotated[float, Field(gt=0)] = 2.0
    """For opening a connection to a gateway."""
    call_timeout_s: Annotated[float, Field(gt=0)] = 30.0
    """For a whole synchronous call."""
    transport_attempts: Annotated[int, Field(ge=1)] = 2
    """Tries to open a connection."""
    limit_per_host: Annotated[int, Field(ge=1)] = 256
    """Calls to one gateway host at once."""

    max_depth: Annotated[int, Field(ge=1)] = 10
    """Levels of nested tasks in a definition (Q67)."""
    submit_max_bytes: Annotated[int, Field(ge=1)] = MEBIBYTE
    """Largest body of a submission (SEMANTICS 5.1)."""
    callback_max_bytes: Annotated[int, Field(ge=1)] = MEBIBYTE
    """Largest body of a callback, wake-up or redo (SEMANTICS 5.1)."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read arguments first, then the environment, then the file."""
        del dotenv_settings, file_secret_settings
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls)

    @property
    def store_url(self) -> str:
        """URL of the store."""
        return self.store or f"sqlite:///{self.data_dir.resolve() / 'rillflow.db'}"

    @property
    def base_url(self) -> str:
        """Where functions reach this server."""
        return (self.server_host or f"http://{self.host}:{self.port}").rstrip("/")

    @property
    def callback_base_url(self) -> str:
        """Base of the callback addresses that functions are given."""
        return (self.callback_host or self.base_url).rstrip("/")
