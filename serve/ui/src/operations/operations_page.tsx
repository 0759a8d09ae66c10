/** The state of the server on one page: first whether all is well, then the figures. */

import "../styles/operations.css";
import { useQuery } from "@tanstack/react-query";
import { type JSX, memo } from "react";
import { formatAddress, goParams, useAddress } from "../address";
import { addressOf, ask, send } from "../api/client";
import type { Counts, Minutes, Operations, TriggerPage } from "../api/types";
import { countWord } from "../executions/counts";
import { duration } from "../format";
import { ErrorNote } from "../parts/controls";
import { StatusIcon } from "../parts/status";
import { number, t, useLanguage } from "../words";
import { Chart, LineChart } from "./chart";
import { Figures, Quarantine } from "./holdings";
import { failedCalls, pointsOf } from "./lines";
import { clusterProblems, otherProblems, problemWord, type Told } from "./problems";
import { Actors, Busy, Hosts, Loops, Nodes } from "./tables";

const REFRESH_MS = 5000;
/** Charts of minutes change once a minute. */
const CHARTS_MS = 20_000;
const HOUR_MS = 3_600_000;
const SPANS = ["1", "3", "6"] as const;
const BUCKETS = 61;
const MOST_TRIGGERS = 500;

/** Ask for the state of the triggers, which are a part of what may not be well. */
function useTriggers() {
  return useQuery({
    queryKey: ["operations/triggers"],
    queryFn: ({ signal }) =>
      send<TriggerPage>(
        "GET",
        addressOf("flow/triggers/list.json", { limit: MOST_TRIGGERS }),
        undefined,
        signal,
      ),
    refetchInterval: CHARTS_MS,
  });
}

function useMinutes() {
  return useQuery({
    queryKey: ["minutes.json"],
    queryFn: ({ signal }) => ask<Minutes>("minutes.json", { last: 360 }, signal),
    refetchInterval: CHARTS_MS,
  });
}

export default function OperationsPage(): JSX.Element {
  const found = useQuery({
    queryKey: ["operations.json"],
    queryFn: ({ signal }) => ask<Operations>("operations.json", {}, signal),
    refetchInterval: REFRESH_MS,
  });
  const minutes = useMinutes();
  const triggers = useTriggers();
  if (found.data === undefined) {
    return found.isError ? (
      <ErrorNote error={found.error} onRetry={() => void found.refetch()} />
    ) : (
      <div aria-busy="true" />
    );
  }
  const state = found.data;
  const problems = [
    ...state.problems,
    ...clusterProblems(state.cluster, state.problems),
    ...otherProblems(minutes.data, triggers.data?.triggers),
  ];
  return (
    <div className="operations">
      <h1 className="unseen">{t("ops.title")}</h1>
      {found.isError && <ErrorNote error={found.error} />}
      <Health problems={problems} />
      <Quarantine state={state} />
      <Charts minutes={minutes.data} />
      <Figures state={state} minutes={minutes.data} triggers={triggers.data?.triggers} />
      <Hosts state={state} />
      <Busy state={state} />
      <Nodes state={state} />
      <Actors state={state} />
      <Loops state={state} />
    </div>
  );
}

function Health({ problems }: { problems: readonly Told[] }): JSX.Element {
  const isWell = problems.length === 0;
  const said = isWell
    ? t("ops.well")
    : problems.length === 1
      ? t("ops.problem")
      : t("ops.problems", { n: number(problems.length) });
  return (
    <section className="health">
      <p className="sentence" role="status">
        <span className={`status-label s-${isWell ? "succeeded" : "held"}`}>
          <StatusIcon status={isWell ? "succeeded" : "held"} label={false} />
          {said}
        </span>
      </p>
      {!isWell && (
        <ul>
          {problems.map((problem) => (
            <li key={`${problem.kind}${problem.subject}`} dir="auto">
              {problem.kind === "trigger_ill" || problem.kind === "trigger_partly" ? (
                <a href={formatAddress(["triggers", problem.subject])}>{problemWord(problem)}</a>
              ) : (
                problemWord(problem)
              )}
            </li>
          ))}
        </ul>
      )}
    </section>
  );
}

/** The last hours: how many, how fast, how late; drawn again when they change, not with the rest. */
const Charts = memo(function Charts({ minutes }: { minutes: Minutes | undefined }): JSX.Element {
  useLanguage();
  const { params } = useAddress();
  const hours = SPANS.find((each) => each === params["hours"]) ?? "1";
  const counts = useQuery({
    queryKey: ["counts.json", "operations", hours],
    queryFn: ({ signal }) =>
      ask<Counts>("counts.json", { since: `${hours}h`, buckets: BUCKETS }, signal),
    refetchInterval: CHARTS_MS,
    placeholderData: (before) => before,
  });
  return (
    <section className="stack" aria-label={t("ops.charts")}>
      <div className="row">
        <h2 className="grow">{t("ops.charts")}</h2>
        <select
          className="field"
          aria-label={t("list.range")}
          value={hours}
          onChange={(event) =>
            goParams({ hours: event.target.value === "1" ? null : event.target.value })
          }
        >
          {SPANS.map((each) => (
            <option key={each} value={each}>
              {each === "1" ? t("list.range.1h") : t("ops.hours", { n: each })}
            </option>
          ))}
        </select>
      </div>
      <div className="charts">
        <Counted counts={counts.data} hours={hours} />
        <Submitted counts={counts.data} />
        <Lengths minutes={minutes} hours={Number(hours)} />
      </div>
    </section>
  );
});

function Counted({ counts, hours }: { counts: Counts | undefined; hours: string }): JSX.Element {
  return (
    <div className="chart now">
      <div>{t("ops.now")}</div>
      <ul>
        {(["unfinished", "failed", "succeeded"] as const).map((status) => (
          <li key={status}>
            <a
              className="row"
              href={formatAddress(["executions"], { q: `status:${status} since:${hours}h` })}
            >
              <StatusIcon status={status} label={false} />
              <span className="grow">{t(`status.${status}`)}</span>
              <strong className="num">
                {counts === undefined ? "–" : countWord(counts, status)}
              </strong>
            </a>
          </li>
        ))}
      </ul>
    </div>
  );
}

function Submitted({ counts }: { counts: Counts | undefined }): JSX.Element | null {
  if (counts?.from_ms == null || counts.step_ms === null) {
    return (
      <>
        <div className="chart space" />
        <div className="chart space" />
      </>
    );
  }
  const { buckets, from_ms: fromMs, step_ms: stepMs } = counts;
  const each = duration(stepMs);
  return (
    <>
      <Chart
        title={t("ops.throughput", { each })}
        values={buckets.map((one) => one.unfinished + one.succeeded + one.failed)}
        fromMs={fromMs}
        stepMs={stepMs}
        tone="running"
      />
      <Chart
        title={t("ops.failures", { each })}
        values={buckets.map((one) => one.failed)}
        fromMs={fromMs}
        stepMs={stepMs}
        tone="failed"
      />
    </>
  );
}

const LENGTHS = ["duration", "submit", "callback", "lateness"] as const;

function Lengths({ minutes, hours }: { minutes: Minutes | undefined; hours: number }): JSX.Element {
  if (minutes === undefined) {
    return (
      <>
        {LENGTHS.map((name) => (
          <div key={name} className="chart space" />
        ))}
      </>
    );
  }
  const toMs = minutes.at_ms;
  const fromMs = toMs - hours * HOUR_MS;
  const failed = failedCalls(minutes, fromMs);
  return (
    <>
      {LENGTHS.map((name) => (
        <LineChart
          key={name}
          title={t(`ops.time.${name}`)}
          points={pointsOf(minutes, name, fromMs)}
          fromMs={fromMs}
          toMs={toMs}
          stepMs={minutes.step_ms}
        />
      ))}
      <div className="chart now">
        <div>{t("ops.failedCalls")}</div>
        {failed.total === 0 ? (
          <p className="muted">{t("ops.noFailedCalls")}</p>
        ) : (
          <ul>
            {failed.hosts.slice(0, 4).map(({ host, count }) => (
              <li key={host} className="row">
                <span className="mono cut grow" title={host}>
                  {host}
                </span>
                <strong className="num">{number(count)}</strong>
              </li>
            ))}
          </ul>
        )}
      </div>
    </>
  );
}
