"""Glue: five synchronous HTTP tasks in a row, each input built from the last output.

    python tests/bench/bench_glue.py --url http://127.0.0.1:8080 [--concurrency 1,64,256]

Measures a stack that runs; starts the functions as a process of its own. Every worker
submits an execution and waits for its end by long poll, then begins anew.
"""

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

import aiohttp
import uvloop
import yarl

HERE = Path(__file__).parent
ADD = "/flow/bg/manage/descriptor/add_descriptor.json"


def sequence(functions_url: str, steps: int = 5) -> str:
    """Return a definition of ``steps`` tasks in a row."""
    tasks = [
        {
            "name": f"step{number}",
            "category": "function",
            "pattern": "task_sync",
            "resourceName": f"{functions_url}/step/{number}",
            "next": f"step{number + 1}" if number < steps else None,
            "inputMappings": [{"source": "$.context.n", "target": "$.input.n"}],
            "outputMappings": [{"source": "$.output.n", "target": "$.context.n"}],
        }
        for number in range(1, steps + 1)
    ]
    dag = {"workspace": "bench", "dagName": f"glue{steps}", "type": "flow", "tasks": tasks}
    return json.dumps(dag)


async def add(http: aiohttp.ClientSession, base: str, text: str, name: str) -> None:
    """Add a definition under ``bench:<name>``."""
    query = {"business_id": "bench", "feature_name": name, "alias": "release"}
    async with http.post(base + ADD, params=query, data=text) as response:
        answer = await response.json()
        if not answer.get("ret"):
            raise SystemExit(f"the definition was refused: {answer}")


async def run_one(http: aiohttp.ClientSession, base: str, descriptor: str) -> None:
    """Submit one execution and wait until it has succeeded."""
    url = yarl.URL(f"{base}/flow/submit.json?descriptor_id={descriptor}", encoded=True)
    async with http.post(url, data=b'{"n":0}') as response:
        submitted = await response.json()
    execution_id = submitted["execution_id"]
    query = f"execution_id={execution_id}&brief=true&wait_s=30"
    async with http.get(yarl.URL(f"{base}/flow/get.json?{query}", encoded=True)) as response:
        ended = (await response.json())["ret"]
    if ended["dag_status"] != "SUCCEED":
        raise SystemExit(f"{execution_id} ended {ended['dag_status']}: {ended}")


async def measure(base: str, descriptor: str, concurrency: int, seconds: float) -> dict[str, float]:
    """Keep ``concurrency`` executions under way for a while and count them."""
    took: list[float] = []
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as http:
        await asyncio.gather(*(run_one(http, base, descriptor) for _ in range(concurrency)))
        until = time.perf_counter() + seconds

        async def worker() -> None:
            while (begun := time.perf_counter()) < until:
                await run_one(http, base, descriptor)
                took.append(time.perf_counter() - begun)

        begun = time.perf_counter()
        await asyncio.gather(*(worker() for _ in range(concurrency)))
        elapsed = time.perf_counter() - begun
    took.sort()
    return {
        "concurrency": concurrency,
        "executions_per_s": len(took) / elapsed,
        "tasks_per_s": 5 * len(took) / elapsed,
        "p50_ms": statistics.median(took) * 1000,
        "p99_ms": took[int(len(took) * 0.99)] * 1000,
    }


def main() -> None:
    """Start the functions, measure every concurrency, and print a row each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", required=True)
    parser.add_argument("--concurrency", default="1,64,256")
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--functions-port", type=int, default=18999)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    command = [sys.executable, str(HERE / "function_server.py"), str(options.functions_port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as functions:
        try:
            if functions.stdout:
                functions.stdout.readline()
            uvloop.run(measure_all(options))
        finally:
            functions.kill()


async def measure_all(options: argparse.Namespace) -> None:
    """Measure every concurrency and print a row each."""
    async with aiohttp.ClientSession() as http:
        text = sequence(f"http://127.0.0.1:{options.functions_port}")
        await add(http, options.url, text, "glue5")
    rows = []
    for concurrency in map(int, options.concurrency.split(",")):
        row = await measure(options.url, "bench:glue5", concurrency, options.seconds)
        rows.append(row)
        if not options.json:
            print("  ".join(f"{key} {value:9.1f}" for key, value in row.items()), flush=True)
    if options.json:
        print(json.dumps(rows))


if __name__ == "__main__":
    main()
