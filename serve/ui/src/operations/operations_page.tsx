/** The state of the server on one page: first whether all is well, then the figures. */

import "../styles/operations.css";
import { useQuery } from "@tanstack/react-query";
import type { JSX, ReactNode } from "react";
import { formatAddress } from "../address";
import { ask } from "../api/client";
import type { Operations } from "../api/types";
import { duration } from "../format";
import { ErrorNote } from "../parts/controls";
import { StatusIcon } from "../parts/status";
import { type Key, number, t } from "../words";
import { Chart } from "./chart";
import { problemWord } from "./problems";

const REFRESH_MS = 5000;

export default function OperationsPage(): JSX.Element {
  const found = useQuery({
    queryKey: ["operations.json"],
    queryFn: ({ signal }) => ask<Operations>("operations.json", {}, signal),
    refetchInterval: REFRESH_MS,
  });
  if (found.data === undefined) {
    return found.isError ? (
      <ErrorNote error={found.error} onRetry={() => void found.refetch()} />
    ) : (
      <div aria-busy="true" />
    );
  }
  const state = found.data;
  return (
    <div className="operations">
      <h1 className="unseen">{t("ops.title")}</h1>
      {found.isError && <ErrorNote error={found.error} />}
      <Health state={state} />
      <div className="charts">
        <Counts counts={state.last_hour.counts} />
        <LastHour state={state} />
      </div>
      <Hosts state={state} />
      <Busy state={state} />
      <Actors state={state} />
      <Loops state={state} />
    </div>
  );
}

function Health({ state }: { state: Operations }): JSX.Element {
  const count = state.problems.length;
  const said = state.is_well
    ? t("ops.well")
    : count === 1
      ? t("ops.problem")
      : t("ops.problems", { n: number(count) });
  return (
    <section className="health">
      <p className="sentence" role="status">
        <span className={`status-label s-${state.is_well ? "succeeded" : "held"}`}>
          <StatusIcon status={state.is_well ? "succeeded" : "held"} label={false} />
          {said}
        </span>
      </p>
      <ul>
        {state.problems.map((problem) => (
          <li key={`${problem.kind}${problem.subject}`} dir="auto">
            {problemWord(problem)}
          </li>
        ))}
      </ul>
    </section>
  );
}

function LastHour({ state }: { state: Operations }): JSX.Element | null {
  const { buckets, from_ms: fromMs, step_ms: stepMs } = state.last_hour;
  if (fromMs === null || stepMs === null) return null;
  const submitted = buckets.map((each) => each.unfinished + each.succeeded + each.failed);
  return (
    <>
      <Chart
        title={t("ops.throughput")}
        values={submitted}
        fromMs={fromMs}
        stepMs={stepMs}
        tone="s-running"
      />
      <Chart
        title={t("ops.failures")}
        values={buckets.map((each) => each.failed)}
        fromMs={fromMs}
        stepMs={stepMs}
        tone="s-failed"
      />
    </>
  );
}

function Counts({ counts }: { counts: Operations["last_hour"]["counts"] }): JSX.Element {
  return (
    <div className="chart now">
      <div>{t("ops.now")}</div>
      <ul>
        {(["unfinished", "failed", "succeeded"] as const).map((status) => (
          <li key={status}>
            <a
              className="row"
              href={formatAddress(["executions"], { q: `status:${status} since:1h` })}
            >
              <StatusIcon status={status} label={false} />
              <span className="grow">{t(`status.${status}`)}</span>
              <strong className="num">{number(counts[status] ?? 0)}</strong>
            </a>
          </li>
        ))}
      </ul>
    </div>
  );
}

function Hosts({ state }: { state: Operations }): JSX.Element {
  if (state.hosts.length === 0) {
    return (
      <Section title={t("ops.hosts")}>
        <p className="muted">{t("ops.noHosts")}</p>
      </Section>
    );
  }
  return (
    <Section title={t("ops.hosts")}>
      <Table
        head={["ops.host", "ops.state", "ops.underWay", "ops.waiting", "ops.held", "ops.rate"]}
        numbers={4}
      >
        {state.hosts.map((host) => (
          <tr key={host.name}>
            <th scope="row" className="mono">
              {host.name}
            </th>
            <td>
              <span className={host.state === "closed" ? "muted" : "s-held"}>
                {circuitWord(host.state)}
                {host.open_for_ms !== null &&
                  host.open_for_ms > 0 &&
                  ` ${duration(host.open_for_ms)}`}
              </span>
            </td>
            <td className="num">{number(host.under_way)}</td>
            <td className="num">{number(host.waiting)}</td>
            <td className="num">{number(host.held)}</td>
            <td className="num">
              {host.rate_per_s === null ? "–" : `${number(host.rate_per_s)}/s`}
            </td>
          </tr>
        ))}
      </Table>
    </Section>
  );
}

function Busy({ state }: { state: Operations }): JSX.Element | null {
  if (state.busy.length === 0) return null;
  return (
    <Section title={t("ops.busy")}>
      <Table head={["ops.host", "list.column.took"]} numbers={1}>
        {state.busy.map((each) => (
          <tr key={each.resource}>
            <th scope="row" className="mono">
              {each.resource}
            </th>
            <td className="num">{duration(each.for_ms)}</td>
          </tr>
        ))}
      </Table>
    </Section>
  );
}

function Actors({ state }: { state: Operations }): JSX.Element | null {
  const actors = state.cluster?.actors ?? [];
  if (actors.length === 0) return null;
  return (
    <Section title={t("ops.actors")}>
      <Table
        head={["ops.actor", "ops.state.ready", "ops.node", "ops.pid", "ops.partitions"]}
        numbers={2}
      >
        {actors.map((actor) => (
          <tr key={actor.name}>
            <th scope="row" className="mono">
              {actor.name}
            </th>
            <td>
              <span className={actor.ready === false ? "s-held" : "muted"}>
                {t(actor.ready === false ? "ops.notReady" : "ops.ready")}
              </span>
            </td>
            <td className="mono" title={actor.node ?? ""}>
              {(actor.node ?? "").slice(0, 12)}
            </td>
            <td className="num">{actor.pid ?? "–"}</td>
            <td className="num">{actor.partitions ?? "–"}</td>
          </tr>
        ))}
      </Table>
    </Section>
  );
}

function Loops({ state }: { state: Operations }): JSX.Element | null {
  if (state.loops.length === 0) return null;
  return (
    <Section title={t("ops.loops")}>
      <Table head={["ops.actor", "list.column.took"]} numbers={1}>
        {state.loops.map((loop) => (
          <tr key={loop.process}>
            <th scope="row" className="mono">
              {loop.process}
            </th>
            <td className="num">{loop.reached ? duration(loop.longest_of_minute_ms) : "–"}</td>
          </tr>
        ))}
      </Table>
    </Section>
  );
}

function Section({ title, children }: { title: string; children: ReactNode }): JSX.Element {
  return (
    <section className="stack">
      <h2>{title}</h2>
      {children}
    </section>
  );
}

/** A table whose last `numbers` columns have numbers. */
function Table({
  head,
  numbers,
  children,
}: {
  head: readonly Key[];
  numbers: number;
  children: ReactNode;
}): JSX.Element {
  return (
    <div className="table-scroll">
      <table className="table">
        <thead>
          <tr>
            {head.map((key, index) => (
              <th key={key} scope="col" className={index < head.length - numbers ? "" : "num"}>
                {t(key)}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>{children}</tbody>
      </table>
    </div>
  );
}

const CIRCUITS: Readonly<Record<string, Key>> = {
  closed: "ops.circuit.closed",
  open: "ops.circuit.open",
  half_open: "ops.circuit.half_open",
};

function circuitWord(state: string): string {
  const key = CIRCUITS[state];
  return key === undefined ? state : t(key);
}
