"""Functions get the environment of the server without its credentials."""

from rillflow.ray_tasks.credentials import VARIABLES, forget_credentials, names_of_credentials
from rillflow.settings import Settings
from rillflow.trusted_files.settings_file import PREFIX


def test_every_setting_that_is_not_shown_is_a_credential() -> None:
    hidden = set()
    for name, field in Settings.model_fields.items():
        if field.repr and "SecretStr" not in repr(field.annotation):
            continue
        choices = getattr(field.validation_alias, "choices", [f"{PREFIX}{name}"])
        hidden |= {str(each).upper() for each in choices}
    assert hidden == VARIABLES


def test_credentials_are_removed_and_nothing_else_is() -> None:
    kept = {"PATH": "/bin", "RILLFLOW_URL": "http://127.0.0.1:8080", "SECRET_OF_THE_USER": "kept"}
    environment = {
        **kept,
        "RILLFLOW_SECRET_TOKEN": "1",
        "rill_flow_auth_secret_key": "2",
        "rillflow_api_key": "3",
    }
    assert len(names_of_credentials(environment)) == 3
    forget_credentials(environment)
    assert environment == kept
