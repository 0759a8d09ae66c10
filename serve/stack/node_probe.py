"""What one node of a cluster is like for a deployment: asked by a Ray task in its environment.

The task is sent by value, since the package may be missing on that node.

Used by `serve/stack/cluster_check.py`.
"""

from typing import Any


def probe(import_path: str) -> dict[str, Any]:
    """Return the facts of this node; it runs in the runtime environment of the deployment.

    Returns:
        ``host``, and ``problem`` with a sentence if Rillflow cannot run here. If it can: ``code``,
        the version of the code; ``namespace``, that of the actors; ``lacks``, sentences about
        variables of Ray with whether they are errors; ``is_file``, whether the store is a file of
        one machine; ``exposed``, whether there is no API key for an address beyond this machine;
        ``guessable``, sentences about short keys; ``unknown``, sentences about variables that look
        like settings; ``upgrade``, a sentence if the code stops writers of an earlier release;
        ``health_checks``, the variables by which Ray looks after its nodes.
    """
    import importlib  # noqa: PLC0415 - what is imported above is not sent
    import os  # noqa: PLC0415
    import socket  # noqa: PLC0415

    facts: dict[str, Any] = {"host": socket.gethostname()}
    module, _, name = import_path.partition(":")
    try:
        inputs = importlib.import_module("rillflow.cli.inputs")
        deployed = importlib.import_module("rillflow.runtime.supervision.deployed")
        variables = importlib.import_module("rillflow.runtime.process.environment_findings")
        local_keys = importlib.import_module("rillflow.local_keys")
        settings = inputs.settings_from({})
        loaded = importlib.import_module(module)
    except ModuleNotFoundError as error:
        missing = error.name or str(error)
        step = "install it there, or ship it by runtime_env of the deployment file"
        return {**facts, "problem": f"the Python package {missing} is missing: {step}"}
    except Exception as error:  # noqa: BLE001 - whatever keeps it from starting there
        return {**facts, "problem": " ".join(f"{error}".split()) or type(error).__name__}
    if name and not hasattr(loaded, name.partition(".")[0]):
        own = "that of Rillflow is serve.app:app"
        return {**facts, "problem": f"import_path {import_path}: {module} has no {name}; {own}"}
    if "problem" in (store := _store(settings)):
        return {**facts, **store}
    return {
        **facts,
        "code": deployed.code_version(),
        "namespace": settings.namespace,
        "lacks": [tuple(each) for each in [*variables.lacking(os.environ), *_open_ports()]],
        "is_file": settings.store_url.startswith("sqlite:"),
        "exposed": settings.api_key is None and not settings.insecure,
        "guessable": list(local_keys.guessable_keys(settings).values()),
        "unknown": _told_by_newer("rillflow.unknown_settings", "unknown_variables", os.environ)
        or [],
        **store,
        "health_checks": [each for each in os.environ if each.startswith("RAY_health_check_")],
    }


def silent_callbacks(patience_s: float) -> dict[str, Any]:
    """Tell whether the address for callbacks answers from this node; asked as ``probe`` is.

    Args:
        patience_s: How long it may take.

    Returns:
        ``silent``, that address if it does not. Nothing if it does, or if none was set: then it is
        where Serve listens.
    """
    import asyncio  # noqa: PLC0415 - what is imported above is not sent
    import importlib  # noqa: PLC0415

    settings = importlib.import_module("rillflow.cli.inputs").settings_from({})
    if settings.server_host is None and settings.callback_host is None:
        return {}
    callbacks = importlib.import_module("rillflow.gateways.http.callback_probe")
    tls = importlib.import_module("rillflow.tls_settings").with_own(settings)
    url = settings.callback_base_url
    come = callbacks.until_callbacks_come(url, tls, patience_s=patience_s)
    return {} if asyncio.run(come) else {"silent": url}


def _store(settings: Any) -> dict[str, Any]:
    """Return ``upgrade`` for the store, or why this code cannot use it from here as ``problem``."""
    import asyncio  # noqa: PLC0415 - what is imported above is not sent
    import importlib  # noqa: PLC0415

    stores = importlib.import_module("rillflow.stores")
    try:
        found = asyncio.run(stores.schema_status(settings.store_url))
        found.refuse_newer()
        earlier = _earlier(settings, found)
    except Exception as error:  # noqa: BLE001 - of drivers too
        reason = " ".join(f"{error}".split()) or type(error).__name__
    else:
        # The release that is checked may be an earlier one, which tells nothing.
        if earlier:
            return {"problem": earlier}
        return {"upgrade": [told for told in [getattr(found, "warning", "")] if told]}
    shown = _told_by_newer("rillflow.stores.urls", "masked", settings.store_url) or "its address"
    where = "RILLFLOW_STORE" if settings.store else "RILLFLOW_DATA_DIR"
    step = f"see that something answers at {shown} from this node, or correct {where}"
    told = reason.replace(settings.store_url, shown)
    return {"problem": f"the store cannot be used ({where}): {told}; {step}"}


def _earlier(settings: Any, found: Any) -> str:
    """Say that executions may be of a later language version than this code knows; or nothing.

    A store is not opened here that this code would upgrade: then the code is a later one.
    """
    import asyncio  # noqa: PLC0415 - what is imported above is not sent
    import importlib  # noqa: PLC0415

    if not found.found or found.found < found.wanted:
        return ""
    try:
        history = importlib.import_module("rillflow.runtime.supervision.language_history")
    except ModuleNotFoundError:  # of a release that wrote no later version either
        return ""

    async def ask() -> str:
        stores = importlib.import_module("rillflow.stores")
        store = stores.open_store(settings.store_url)
        await store.open()
        try:
            return str(await history.earlier_language(store))
        finally:
            await store.close()

    return asyncio.run(ask())


def _open_ports() -> Any:
    """Return what is wrong if Ray talks to whoever reaches this node."""
    import os  # noqa: PLC0415 - what is imported above is not sent

    import ray  # noqa: PLC0415

    module = "rillflow.runtime.process.environment_findings"
    address = ray.util.get_node_ip_address()
    return _told_by_newer(module, "unencrypted", os.environ, address) or []


def _told_by_newer(module: str, name: str, *about: Any) -> Any:
    """Return what a function says of something; None where the node's release is without it.

    The release that is checked may be the one before this one, to which a deployment goes back.
    """
    import importlib  # noqa: PLC0415 - what is imported above is not sent

    try:
        return getattr(importlib.import_module(module), name)(*about)
    except (ModuleNotFoundError, AttributeError):
        return None
