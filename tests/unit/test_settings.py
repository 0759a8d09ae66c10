"""Everything that can be set is read from the environment, a file, or the program itself."""

import re
from pathlib import Path
from typing import Any, Final

import pytest
from starlette.requests import Request

from rillflow.errors import RequestError
from rillflow.runtime.backpressure.admission import NodeMemory
from rillflow.runtime.hooks.loading import load_hook
from rillflow.setting_values import IDLE_SWITCHES, SWITCHES, idle_switches, matching_id
from rillflow.settings import Settings
from rillflow.unknown_settings import unknown_variables
from serve.limits.body_pool import BodyLimits
from tests.loopback import StoppedClock

SUBMIT: Final = "/flow/submit.json"
CALLBACK: Final = "/flow/trigger.json"


def limit_of(settings: Settings, path: str, **query: str) -> int:
    text = "&".join(f"{name}={value}" for name, value in query.items())
    scope = {"type": "http", "path": path, "headers": [], "query_string": text.encode()}
    return BodyLimits(settings).of(Request(scope)).bytes


@pytest.mark.case("AP-21", "AP-16")
def test_limits_come_from_the_environment_and_maps_are_json(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RILLFLOW_SUBMIT_MAX_BYTES", "1024")
    monkeypatch.setenv("RILLFLOW_CALLBACK_MAX_BYTES", "2048")
    monkeypatch.setenv("RILLFLOW_SUBMIT_MAX_BYTES_BY_BUSINESS", '{"testBusiness01": 4096}')
    monkeypatch.setenv("RILLFLOW_CALLBACK_MAX_BYTES_BY_BUSINESS", '{"testBusiness01": 8192}')
    monkeypatch.setenv("RILLFLOW_STORAGE_MAX_USAGE_PERCENT", "85")
    settings = Settings()
    assert limit_of(settings, SUBMIT, descriptor_id="testBusiness01:a") == 4096
    assert limit_of(settings, CALLBACK, execution_id="testBusiness01:a_c_1") == 8192
    assert limit_of(settings, SUBMIT, descriptor_id="other:a") == 1024
    assert limit_of(settings, CALLBACK, execution_id="other:a_c_1") == 2048
    assert settings.storage_max_usage_percent == 85


@pytest.mark.case("AP-16")
def test_without_limits_by_business_the_general_ones_hold() -> None:
    settings = Settings(submit_max_bytes=7, callback_max_bytes=8)
    assert limit_of(settings, SUBMIT, descriptor_id="any:a") == 7
    assert limit_of(settings, CALLBACK, execution_id="any:a_c_1") == 8


def test_ended_executions_are_kept_for_a_week_unless_set_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = Settings()
    assert (settings.keep_finished_s, settings.keep_finished_count) == (7 * 86_400, None)
    monkeypatch.setenv("RILLFLOW_KEEP_FINISHED_S", "forever")
    monkeypatch.setenv("RILLFLOW_KEEP_FINISHED_COUNT", "1000")
    monkeypatch.setenv("RILLFLOW_ARCHIVE_DIR", "archive")
    settings = Settings()
    assert (settings.keep_finished_s, settings.keep_finished_count) == (None, 1000)
    assert settings.archive_dir == Path.cwd() / "archive"


def test_the_folder_of_secrets_is_the_same_wherever_a_process_of_the_stack_runs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RILLFLOW_SECRETS_DIR", "secrets")
    assert Settings().secrets_dir == Path.cwd() / "secrets"


@pytest.mark.parametrize(
    ("host", "address"),
    [("127.0.0.1", "http://127.0.0.1:8080"), ("::1", "http://[::1]:8080")],
)
def test_functions_reach_the_server_where_it_listens(host: str, address: str) -> None:
    assert Settings(host=host).callback_base_url == address


def test_a_file_may_hold_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rillflow.toml").write_text(
        """
        auth_secret = "secret"
        callback_host = "http://outside"
        [submit_traffic_limits]
        shop = 5
        [switches]
        ENABLE_AUTH_RESOLVER = true
        [resource_checks."shop:order"]
        check_type = "key_resource"
        key_resources = ["http://a"]
        [flow_health.shop]
        heap = 3
        """
    )
    settings = Settings()
    assert settings.auth_secret == "secret"
    assert settings.callback_base_url == "http://outside"
    assert settings.submit_traffic_limits == {"shop": 5}
    assert settings.resource_checks["shop:order"].key_resources == ("http://a",)
    assert settings.flow_health["shop"].heap == 3
    assert settings.switch("ENABLE_AUTH_RESOLVER") is True


def test_switches_have_the_defaults_of_the_original_and_unknown_ones_are_off() -> None:
    settings = Settings()
    assert {name: settings.switch(name) for name in SWITCHES} == dict(SWITCHES)
    assert settings.switch("ENABLE_NOTHING_KNOWN") is False


def test_a_switch_that_decides_nothing_here_is_warned_of_and_stays_off() -> None:
    settings = Settings(switches={"ENABLE_FLOW_STASH": True, "ENABLE_AUTH_RESOLVER": True})
    assert idle_switches(settings.switches) == ["the switch ENABLE_FLOW_STASH has no effect here"]
    assert settings.switch("ENABLE_FLOW_STASH") is False
    assert not IDLE_SWITCHES & SWITCHES.keys()


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"switches": {"nonsense": True}}, "there is no switch nonsense"),
        (
            {"switches": {"ENABLE_AUTH_RESOLVR": True}},
            "there is no switch ENABLE_AUTH_RESOLVR, did you mean ENABLE_AUTH_RESOLVER?",
        ),
        (
            {"switches": {"enable_flow_stash": True}},
            "there is no switch enable_flow_stash, did you mean ENABLE_FLOW_STASH?",
        ),
        (
            {"resource_checks": {"a:b": {"check_typo": "skip"}}},
            "there is no check_typo, did you mean check_type?",
        ),
        ({"resource_checks": {"a:b": {"check_type": "none"}}}, "Input should be 'short_board'"),
        ({"resource_checks": {"a b": {}}}, "'a b' is no business and no business:feature"),
        ({"submit_traffic_limits": {"no such id!": 5}}, "'no such id!' is no business and no"),
        ({"submit_traffic_limits": {"a:b:c": 5}}, "'a:b:c' is no business and no"),
        ({"submit_traffic_limits": {"shop": -5}}, "greater than or equal to 0"),
        ({"flow_health": {"": {}}}, "'' is no business and no"),
        ({"flow_health": {"shop": {"heep": 1}}}, "there is no heep, did you mean heap?"),
        ({"submit_max_bytes_by_business": {"a:b": 1}}, "'a:b' is no business"),
        ({"callback_max_bytes_by_business": {"a": -1}}, "greater than or equal to 1"),
        ({"chatgpt_base_url": "api.openai.com"}, "no http:// or https:// address"),
        ({"chatgpt_base_url": "http://a:99999"}, "Port out of range"),
        ({"chatgpt_base_url": "ftp://a"}, "no http:// or https:// address"),
        ({"aliyun_ai_base_url": "http://u:p@a/v1"}, "it has a user, a query or a fragment"),
        ({"aliyun_ai_base_url": "http://a/v1?b"}, "it has a user, a query or a fragment"),
    ],
)
def test_names_and_numbers_in_maps_that_can_mean_nothing_are_refused(
    changes: dict[str, Any], told: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(told)) as refused:
        Settings(**changes)
    assert next(iter(changes)) in str(refused.value)


def test_ids_are_those_of_businesses_and_services() -> None:
    ids = ("shop", "shop:order", "shop_order")
    assert tuple(Settings(submit_traffic_limits=dict.fromkeys(ids, 0)).submit_traffic_limits) == ids
    assert Settings(chatgpt_base_url="http://[::1]:9/v1/").chatgpt_base_url == "http://[::1]:9/v1"


@pytest.mark.parametrize(
    ("keys", "found"),
    [
        (("shop", "shop:order"), "shop:order"),
        (("shop", "shop_order"), "shop_order"),
        (("shop", "shop:other"), "shop"),
        (("other",), None),
    ],
)
def test_a_service_comes_before_its_business(keys: tuple[str, ...], found: str | None) -> None:
    assert matching_id(dict.fromkeys(keys), "shop", "order") == found


def test_a_hook_is_named_by_module_and_attribute() -> None:
    assert load_hook(None) is None
    assert callable(load_hook("builtins:dict"))
    for name in ("builtins", "builtins:nothing", "no.such.module:x", "sys:path"):
        with pytest.raises(RequestError, match="context_hook"):
            load_hook(name)


@pytest.mark.parametrize(
    ("text", "percent"),
    [
        ("MemTotal: 1000 kB\nMemFree: 1 kB\nMemAvailable: 250 kB\n", 75),
        ("MemTotal: 0 kB\nMemAvailable: 0 kB\n", 0),
        ("nothing\n", 0),
        (None, 0),
    ],
)
def test_the_use_of_memory_is_what_the_system_says(
    tmp_path: Path, text: str | None, percent: int
) -> None:
    source = tmp_path / "meminfo"
    if text is not None:
        source.write_text(text)
    memory = NodeMemory(StoppedClock(), source)
    assert memory.used_percent() == percent
    source.write_text("MemTotal: 100 kB\nMemAvailable: 0 kB\n")
    assert memory.used_percent() == percent


def test_rates_of_hosts_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RILLFLOW_RATE_PER_HOST", "2.5")
    monkeypatch.setenv("RILLFLOW_RATES_BY_HOST", '{"a.test:80": 1, "[::1]:9": "forever"}')
    settings = Settings()
    assert settings.rate_per_host == 2.5
    assert settings.rates_by_host == {"a.test:80": 1.0, "[::1]:9": None}


@pytest.mark.parametrize("rates", ['{"http://a.test": 1}', '{"a.test": 0}', '{"a.test": "x"}'])
def test_rates_of_what_is_no_host_or_no_rate_are_refused(
    monkeypatch: pytest.MonkeyPatch, rates: str
) -> None:
    monkeypatch.setenv("RILLFLOW_RATES_BY_HOST", rates)
    with pytest.raises(ValueError, match="rates_by_host"):
        Settings()


@pytest.mark.parametrize(
    ("name", "warning"),
    [
        ("RILLFLOW_HOT_EXECUTION", "did you mean RILLFLOW_HOT_EXECUTIONS?"),
        ("rillflow_replica", "did you mean RILLFLOW_REPLICAS?"),
        ("RILLFLOW_API_KEYS", "did you mean RILLFLOW_API_KEY?"),
        ("RILL_FLOW_PORT", "did you mean RILLFLOW_PORT?"),
        ("RILFLOW_DATA_DIR", "did you mean RILLFLOW_DATA_DIR?"),
        ("RILLFLOW_ZZZZ", "the variable is ignored"),
        ("RILLFLOW_", "the variable is ignored"),
    ],
)
def test_a_variable_that_looks_like_a_setting_and_is_none_is_warned_of(
    name: str, warning: str
) -> None:
    assert unknown_variables(["PATH", name]) == [f"there is no setting {name}; {warning}"]


def test_settings_secrets_and_what_the_tools_have_are_not_warned_of() -> None:
    settings = [f"RILLFLOW_{name.upper()}" for name in Settings.model_fields]
    others = ["RILLFLOW_SECRET_TOKEN", "RILLFLOW_URL", "RILLFLOW_RUN_DIR", "RILLFLOW_FUZZ"]
    others += ["RILLFLOW_FEW_FILES"]
    aliases = ["RILLFLOW_CORPUS", "RILL_FLOW_CALLBACK_URL", "rill_flow_auth_secret_key"]
    aliases += ["RILL_FLOW_TRACE", "RILL_FLOW_TRACE_QUERY_HOST", "RILL_FLOW_SECRET_A"]
    assert unknown_variables([*settings, "rillflow_port", *others, *aliases]) == []


def test_variables_of_an_installed_extension_are_not_warned_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    metadata = tmp_path / "in_folders-1.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: in-folders\nVersion: 1\n")
    entries = "[rillflow.triggers]\nin-folder = a:B\n[rillflow.dispatchers]\nmail = a:C\n"
    (metadata / "entry_points.txt").write_text(f"{entries}[others]\nqqqqq = a:D\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert unknown_variables(["RILLFLOW_IN_FOLDERS", "RILLFLOW_MAIL_HOST", "RILLFLOW_MAIL"]) == []
    assert unknown_variables(["RILLFLOW_QQQQQ"]) == [
        "there is no setting RILLFLOW_QQQQQ; the variable is ignored"
    ]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("prot = 1", "there is no setting prot, did you mean port?"),
        ("RILLFLOW_PORT = 1", "there is no setting RILLFLOW_PORT, did you mean port?"),
        ("data-dir = '.'", "there is no setting data-dir, did you mean data_dir?"),
        ("[rillflow]\nport = 1", "there is no setting rillflow, settings stand in no section"),
        ("zzzz = 1", "there is no setting zzzz"),
        ("hosst = 1\nprot = 1", "setting hosst, did you mean host?; there is no setting prot, "),
    ],
)
def test_a_name_of_the_file_that_is_no_setting_is_told_with_the_likely_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, told: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rillflow.toml").write_text(text)
    with pytest.raises(ValueError, match=re.escape(told)):
        Settings()


def test_the_trace_host_is_read_by_rill_flows_name_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RILL_FLOW_TRACE_QUERY_HOST", "http://traces")
    assert Settings().trace_query_host == "http://traces"
