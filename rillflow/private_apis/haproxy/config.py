"""Rewrites the HAProxy configuration of Serve, and starts HAProxy: run as a program.

The changes:

* Serve's pages of statistics listen on every interface, at ports that another program may have.
  Here there are none: nothing reads them, and a taken port would keep HAProxy from starting.
* HAProxy outlives a killed parent; here it ends with it.
* Until the API has started, Serve's HAProxy answers 404, which tells a function that its callback
  is not wanted. Here it answers 503 and closes the connection, since that connection stays with
  the process that was started without an API.
* Serve has HAProxy look for the API on 127.0.0.1, but has the API listen where HAProxy does. So
  Serve is told 127.0.0.1 for both, and this program sets the address of HAProxy.
* If the API does not answer, Serve's HAProxy answers 500, which means that a retry is useless. Here
  it answers 502, 503 or 504.
* A request that Serve had for a replica that dies is answered 500 in plain text. Here it is 503.
* Serve waits for ever for headers and an hour for bodies. Here both have deadlines, and the API
  gets only complete bodies, or their first ``tune.bufsize`` bytes. So slow bodies occupy
  connections of HAProxy, of which there are many, and none of the API.
* Serve's HAProxy waits for an answer for ever. Here it waits for a little longer than Serve's
  replicas do, and for health and streams, which are never silent for long, for less.
* Serve's HAProxy speaks no TLS with clients. Here it does if there is a certificate.
* Serve sends each request line, with the seals of callbacks, to UDP port 514, and shows the names
  of its applications (``/-/routes``). Here it does neither.

It runs before each (re)load, so it imports very little.

Used by `private_apis/haproxy/start.py` and `private_apis/haproxy/program.py`.
"""

import ctypes
import os
import resource
import signal
import sys

PR_SET_PDEATHSIG = 1
PAGES = ("frontend prometheus", "listen stats")
LOOPBACK = "bind 127.0.0.1:"
PAGE_OF_500 = "    errorfile 50"
NOT_FOUND = "    http-request return status 404 "
STARTING = (
    "    http-request return status 503 content-type application/json"
    " hdr Retry-After 1 hdr Connection close"
    """ string '{"error_code":30101,"error":"the HTTP API is starting"}'\n"""
)
RETURNED = "    http-request return status "
ROUTES = " if routes"
NO_ROUTES = (
    "    http-request return status 404 content-type application/json"
    """ string '{"error_code":30101,"error":"Not Found"}' if routes\n"""
)
NO_LOG = "/dev/null"
LOG = "    log "
MAXCONN = "    maxconn "
EVERYBODYS_SOCKET = " mode 666 "
OWN_SOCKET = " mode 600 "
MOST_CONNECTIONS = 16_384
SPARE_FILES = 200
FRONT = "frontend http_frontend"
UNAVAILABLE = (
    "    http-after-response set-header Retry-After 1"
    " if { status 500 } { res.hdr(content-type) -m beg text/plain }\n"
    "    http-after-response set-status 503"
    " if { status 500 } { res.hdr(content-type) -m beg text/plain }\n"
)
"""What the API answers is JSON, also a 500: plain text is of Serve, whose replica has died."""
REUSED = "    http-reuse always"
ANSWERED = """\
    timeout server 690s
    http-request set-timeout server 30s if { path /healthz /readyz /flow/service_check.json }
    http-request set-timeout server 60s if { path -m end .stream }
"""
"""What each backend is told beside what Serve tells it.

Whoever is given a connection whose answer before has not ended waits for so long, and no longer.
Replicas give up after 660 s (``request_timeout_s``). Streams send comments every 15 s.
"""
LIMITED = """\
    option disable-h2-upgrade
    timeout http-request 30s
    timeout client 60s
    stick-table type ipv6 size 100k expire 10m store conn_cur,conn_rate(10s),http_err_rate(10s)
    acl near src 127.0.0.0/8 ::1
    acl forwarded req.hdr(x-forwarded-for) -m found
    acl many sc0_conn_cur gt {per_address}
    acl far_too_many sc0_conn_cur gt {twice_per_address}
    tcp-request connection track-sc0 src,ipmask(32,64)
    tcp-request connection reject if far_too_many !near
    tcp-request connection reject if {{ fe_conn gt MOST_FAR }} !near
    tcp-request connection reject if {{ sc0_conn_rate gt {per_address} }} TLS_ONLY !near
    http-error status 408 content-type application/json hdr Retry-After 1 string \
'{{"error_code":30109,"error":"the request did not arrive in time",\
"hint":"see body_start_timeout_s, body_timeout_s and body_min_bytes_per_s"}}'
    http-request return status 414 content-type application/json hdr Connection close string \
'{{"error_code":30101,"error":"the path has more than {path} characters"}}' \
if {{ path,length gt {path} }}
    http-request return status 429 content-type application/json hdr Retry-After 1 \
hdr Connection close string '{{"error_code":30201,"error":"too many connections of one address",\
"hint":"see connections_per_address (RILLFLOW_CONNECTIONS_PER_ADDRESS)"}}' if many !near
    http-request return status 429 content-type application/json hdr Retry-After 10 \
hdr Connection close string '{{"error_code":30201,"error":"too many refused requests",\
"hint":"nearly all that this address asks for is unknown, or not allowed"}}' \
if {{ sc0_http_err_rate gt {refused} }} !near
    acl pages path,url_dec -m reg ^/+(console|docs/*$|swagger-ui.html/*$|$)
    http-request track-sc1 src,ipmask(32,64) table {table} if pages !near
    http-request return status 429 content-type application/json hdr Retry-After 10 \
hdr Connection close string '{{"error_code":30201,"error":"too many requests of one address",\
"hint":"see connections_per_address (RILLFLOW_CONNECTIONS_PER_ADDRESS)"}}' \
if pages {{ sc1_http_req_rate gt {pages} }}
    acl open method OPTIONS
    acl open path,url_dec -m reg ^/+(healthz|readyz|flow/service_check.json|-/healthz|-/routes)/*$
    http-request track-sc2 src,ipmask(32,64) table {open_table} if open !near
    http-request return status 429 content-type application/json hdr Retry-After 10 \
hdr Connection close string '{{"error_code":30201,"error":"too many requests of one address",\
"hint":"see connections_per_address (RILLFLOW_CONNECTIONS_PER_ADDRESS)"}}' \
if open {{ sc2_http_req_rate gt {open} }}
    http-request set-header X-Forwarded-For %[src] unless near forwarded
    http-request set-header X-Forwarded-For %[req.hdr(x-forwarded-for,-1)] \
if {{ req.hdr_cnt(x-forwarded-for) gt {proxies} }}
    http-request wait-for-body time {start_ms}ms at-least 1
    http-request wait-for-body time {rate_ms}ms at-least {rate_bytes}
    http-request wait-for-body time {whole_ms}ms
"""
"""What the front is told beside what Serve tells it.

Clients of this machine have no limit of their own, since a reverse proxy here has all
connections; and only such a proxy is believed for whom it calls. An eighth of all connections is
left to them. Who rents a machine has a whole /64 of IPv6, so that is one address.
"""
PAGES_TABLE = "rillflow_pages"
OPEN_TABLE = "rillflow_open"
COUNTED_WITHIN_10S = "".join(
    f"""\
backend {table}
    stick-table type ipv6 size 100k expire 30s store http_req_rate(10s)
"""
    for table in (PAGES_TABLE, OPEN_TABLE)
)
"""Count the requests of addresses for what needs no key and is answered.

These are the pages of the console, and health and ``OPTIONS``. Each costs a replica more than it
costs the client, who need not read what it is sent. The API takes ``//docs`` and ``/docs/`` for
``/docs`` (``RequestLines``), so they count too.
"""
MOST_REFUSED = 5_000
"""How many requests of one address the API refuses (4xx) in 10 s; then the front refuses them.

Callbacks and webhooks need no key, and each that is refused costs a replica a fifth of a
millisecond.
"""
LONGEST_PATH = 2_048
"""Paths of the API have names of some hundred characters; a replica decodes each before it asks who
calls, which takes 3 ms for 16 KB.
"""
MOST_PROXIES = 20
"""Addresses of a chain of proxies. A replica looks at each, and a client may begin with a thousand;
of more the last one counts, which the proxy of this machine has added.
"""
LEAST_PAGES = 100
"""The pages of the console are made of some dozens of files."""
OPEN_OF_EACH = 2
"""For each connection of an address so many requests in 10 s for health, or with ``OPTIONS``.

Who watches many servers asks each of them once a second; browsers ask by ``OPTIONS`` once for each
page of another origin.
"""
TLS_ONLY = "TLS_ONLY"
"""Stands in the line of connections that begin: each has a handshake, which computes, with TLS."""
MOST_FAR = "MOST_FAR"
"""Stands for the most connections with others until it is known how many there may be."""
RATE_WITHIN_S = 10.0
BIND = "    bind "
TLS = "ssl-min-ver TLSv1.2 alpn http/1.1"
"""HTTP/2 would pass by the limits above, which are of connections."""


def answered(configuration: str) -> str:
    """Return a configuration that waits for answers only as long as they may take."""
    lines = configuration.splitlines(keepends=True)
    return "".join(line + ANSWERED if line.rstrip() == REUSED else line for line in lines)


def without_pages(configuration: str) -> str:
    """Return a configuration without the pages of statistics."""
    inside = False
    lines = []
    for line in configuration.splitlines(keepends=True):
        if line[:1].strip():
            inside = line.strip() in PAGES
        if not inside:
            lines.append(line)
    return "".join(lines)


def patient(configuration: str) -> str:
    """Return a configuration that answers 503 while there is no API yet."""
    lines = configuration.splitlines(keepends=True)
    return "".join(STARTING if line.startswith(NOT_FOUND) else line for line in lines)


def plain(configuration: str) -> str:
    """Return a configuration that does not answer 500 instead of 502, 503 or 504."""
    lines = configuration.splitlines(keepends=True)
    return "".join(line for line in lines if not line.startswith(PAGE_OF_500))


def silent(configuration: str) -> str:
    """Return a configuration without a log, unless a log is configured."""
    lines = configuration.splitlines(keepends=True)
    return "".join(line for line in lines if not line.startswith(LOG + NO_LOG))


def private(configuration: str) -> str:
    """Return a configuration that hides its routes and control."""
    lines = []
    for line in configuration.splitlines(keepends=True):
        if line.startswith(RETURNED) and line.rstrip().endswith(ROUTES):
            lines.append(NO_ROUTES)
        else:
            lines.append(line.replace(EVERYBODYS_SOCKET, OWN_SOCKET))
    return "".join(lines)


def limited(
    configuration: str, limits: str, most_far: int = MOST_CONNECTIONS, *, has_tls: bool = False
) -> str:
    """Return a configuration whose front gives requests so much time and so many connections.

    With so many connections in all, only clients of this machine get more. With TLS, connections
    that begin are limited too.
    """
    limits = limits.replace(MOST_FAR, str(most_far))
    told = (line for line in limits.splitlines(keepends=True) if has_tls or TLS_ONLY not in line)
    limits = "".join(line.replace(f" {TLS_ONLY}", "") for line in told)
    lines = configuration.splitlines(keepends=True)
    tables = COUNTED_WITHIN_10S if PAGES_TABLE in limits else ""
    return "".join(tables + line + limits if line.strip() == FRONT else line for line in lines)


def limits_of(
    per_address: int,
    start_s: float,
    whole_s: float,
    bytes_per_s: float,
    *,
    refused: int = MOST_REFUSED,
) -> str:
    """Return what the front is told of limits.

    Args:
        per_address: Connections of one address from elsewhere; with TLS as many may begin in 10 s.
            Half as many requests may be for pages of the console in 10 s, or 100, and twice as
            many for health, or with the method ``OPTIONS``.
        start_s: Within which the first byte of a body must have come.
        whole_s: Within which a body must have come.
        bytes_per_s: At least so many of it, looked at once.
        refused: Requests of one address from elsewhere that the API may refuse in 10 s.
    """
    within_s = min(RATE_WITHIN_S, whole_s)
    return LIMITED.format(
        per_address=per_address,
        twice_per_address=2 * per_address,
        pages=max(per_address // 2, LEAST_PAGES),
        path=LONGEST_PATH,
        proxies=MOST_PROXIES,
        table=PAGES_TABLE,
        open=OPEN_OF_EACH * per_address,
        open_table=OPEN_TABLE,
        refused=refused,
        start_ms=round(start_s * 1000),
        rate_ms=round(within_s * 1000),
        rate_bytes=max(1, round(bytes_per_s * within_s)),
        whole_ms=round(whole_s * 1000),
    )


def roomy(configuration: str, most_files: int) -> str:
    """Return a configuration with as many connections as this process may have files for."""
    most = _most_connections(most_files)
    lines = configuration.splitlines(keepends=True)
    return "".join(f"{MAXCONN}{most}\n" if line.startswith(MAXCONN) else line for line in lines)


def _most_connections(most_files: int) -> int:
    return max(min((most_files - SPARE_FILES) * 2 // 5, MOST_CONNECTIONS), 1)  # two each, and pipes


def _most_far(most_files: int) -> int:
    """Return how many connections there may be before only this machine gets more."""
    most = _most_connections(most_files)
    return most - max(most // 8, 1)


def reached(configuration: str, host: str) -> str:
    """Return a configuration whose front listens on another address than loopback."""
    address = f"bind [{host}]:" if ":" in host else f"bind {host}:"
    return "".join(
        line.replace(LOOPBACK, address) if inside else line
        for line, inside in with_front(configuration)
    )


def encrypted(configuration: str, certificate: str) -> str:
    """Return a configuration whose front speaks TLS only, with a certificate; as it is without."""
    if not certificate:
        return configuration
    return "".join(
        f"{line.rstrip()} ssl crt {certificate} {TLS}\n" if inside and BIND in line else line
        for line, inside in with_front(configuration)
    )


def with_front(configuration: str) -> "list[tuple[str, bool]]":
    """Return each line, and whether it is one of the front."""
    inside = False
    lines = []
    for line in configuration.splitlines(keepends=True):
        if line[:1].strip():
            inside = line.strip() == FRONT
        lines.append((line, inside))
    return lines


def main(host: str, limits: str, certificate: str, command: list[str]) -> None:
    """Become HAProxy, which listens on an address, with limits, and with TLS if it is to."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    os.chdir("/")  # HAProxy does not start in a folder that has been removed
    if "-f" in command:
        path = command[command.index("-f") + 1]
        with open(path, encoding="utf-8") as file:  # noqa: PTH123 - pathlib costs 10 ms a reload
            configuration = file.read()
        with open(path, "w", encoding="utf-8") as file:  # noqa: PTH123 - the same
            file.write(guarded(configuration, host, limits, certificate))
    os.execv(command[0], command)  # noqa: S606 - the binary that Ray chose


def guarded(configuration: str, host: str, limits: str, certificate: str = "") -> str:
    """Return a configuration with everything above."""
    _, most_files = resource.getrlimit(resource.RLIMIT_NOFILE)
    configuration = answered(silent(private(patient(without_pages(configuration)))))
    configuration = roomy(configuration, most_files)
    limits, most_far = UNAVAILABLE + limits, _most_far(most_files)
    configuration = plain(limited(configuration, limits, most_far, has_tls=bool(certificate)))
    return encrypted(reached(configuration, host), certificate)


if __name__ == "__main__":
    _numbers = sys.argv[2:6]
    main(
        sys.argv[1],
        limits_of(int(_numbers[0]), *(float(number) for number in _numbers[1:])),
        sys.argv[6],
        sys.argv[7:],
    )
