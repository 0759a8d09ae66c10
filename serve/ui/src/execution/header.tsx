/** The head of an execution: its sentence, its facts, and what can be done to it. */

import type { JSX } from "react";
import { formatAddress } from "../address";
import type { Execution } from "../api/types";
import { clock, shortId, shortVersion } from "../format";
import { CopyButton } from "../parts/controls";
import { type Done, DoneNote } from "../parts/done_note";
import { StatusIcon, StatusLabel } from "../parts/status";
import { Clock, serverNow, Took, useNow } from "../parts/time";
import { locale, number, t } from "../words";
import { Steering } from "./steering";
import { toldOf, warningsOf } from "./told";
import { waitSentence } from "./waiting";

export function Header({
  execution,
  now,
  event,
  task,
  done,
  onDone,
}: {
  execution: Execution;
  /** The execution as it is now, which is what the buttons act on. */
  now: Execution;
  event: number | null;
  /** The instance that is selected. */
  task: string | null;
  /** What was done last to the execution or to a task of it. */
  done: Done | null;
  onDone: (done: Done | null) => void;
}): JSX.Element {
  return (
    <header className="one-head">
      <div className="one-title">
        <h1>
          <a
            className="muted"
            dir="auto"
            href={formatAddress(["executions"], {
              q: `flow:${execution.business}:${execution.feature}`,
            })}
          >
            {execution.business}
          </a>{" "}
          <bdi>{execution.feature}</bdi>
        </h1>
        <span className="together">
          {execution.definition_id !== null && (
            <span className="muted mono" title={execution.definition_id}>
              {shortVersion(execution.definition_id)}
            </span>
          )}
          <span className="mono" title={execution.execution_id}>
            {shortId(execution.execution_id)}
          </span>
          <CopyButton text={execution.execution_id} label={t("action.copyId")} />
        </span>
        <div className="grow" />
        <Steering execution={now} task={task} onDone={onDone} />
      </div>
      <p className="sentence" aria-live="polite">
        <StatusLabel status={execution.status} />
        <Sentence execution={execution} isNow={event === null} />
      </p>
      <p className="facts muted">
        {execution.started_ms !== null && (
          <span>
            {t("one.submitted")} <Clock ms={execution.started_ms} />
          </span>
        )}
        <span>
          {execution.parent === null ? (
            <StartedBy execution={execution} />
          ) : (
            <>
              {t("one.by.subFlow", { task: execution.parent.task })}{" "}
              <a
                className="mono"
                href={formatAddress(["execution", execution.parent.execution_id], {
                  task: execution.parent.task,
                })}
              >
                {shortId(execution.parent.execution_id)}
              </a>
            </>
          )}
        </span>
        {execution.ended_ms !== null && (
          <span>
            {t("one.took")}{" "}
            <Took
              fromMs={execution.started_ms}
              toMs={execution.ended_ms}
              idleMs={execution.idle_ms}
            />
          </span>
        )}
        <FailedTasks execution={execution} />
        {execution.status !== "succeeded" && execution.mapping_warnings > 0 && (
          <span className="warned">{warningsOf(execution.mapping_warnings)}</span>
        )}
        {execution.progress !== null && (
          <span className="num">
            {number(execution.progress.done)}/{number(execution.progress.total)}
          </span>
        )}
      </p>
      {done !== null && <DoneNote done={done} onDone={onDone} />}
    </header>
  );
}

/** Failures of an execution that goes on, which its sentence does not tell. */
function FailedTasks({ execution }: { execution: Execution }): JSX.Element | null {
  const count = execution.tasks.failed ?? 0;
  if (count === 0 || execution.ended_ms !== null) return null;
  const said = (
    <>
      <StatusIcon status="failed" label={false} /> {t("one.failedTasks", { n: number(count) })}
    </>
  );
  const task = execution.failure?.task;
  if (!task) return <span className="failed-tasks s-failed">{said}</span>;
  return (
    <a
      className="failed-tasks s-failed"
      href={formatAddress(["execution", execution.execution_id], { task })}
    >
      {said}
    </a>
  );
}

/** What has started an execution that is no sub-flow: a trigger, or a request. */
function StartedBy({ execution }: { execution: Execution }): JSX.Element {
  const by = execution.triggered_by;
  if (by === undefined) return <>{t("one.by.request")}</>;
  const { trigger_id: id, scheduled_ms: scheduledMs } = by;
  return (
    <>
      {t("one.by.trigger")}{" "}
      {id !== null &&
        (by.exists ? (
          <a href={formatAddress(["triggers", id])} dir="auto">
            {id}
          </a>
        ) : (
          <span dir="auto">{id}</span>
        ))}
      {by.how === "by_hand" && ` (${t("triggers.byHand")})`}
      {scheduledMs !== null && (
        <>
          {" "}
          {t("one.by.for")} <Clock ms={scheduledMs} isClock />
        </>
      )}
    </>
  );
}

function Sentence({ execution, isNow }: { execution: Execution; isNow: boolean }): JSX.Element {
  const ticking = useNow();
  const now = isNow ? ticking : execution.at_ms;
  return (
    <span dir="auto" title={wireOf(execution)}>
      {sentenceOf(execution, now)}
    </span>
  );
}

/** What an execution does, waits for, or has come to. */
export function sentenceOf(execution: Execution, nowMs: number): string {
  if (execution.cancelled) return cancellationOf(execution);
  if (execution.status === "succeeded") {
    const count = execution.mapping_warnings ?? 0;
    return count === 0
      ? t("one.succeeded")
      : t("one.succeededWarned", { warnings: warningsOf(count) });
  }
  if (execution.status === "failed") return failureOf(execution);
  if (execution.wait !== null)
    return `${waitSentence(execution.wait, nowMs)}${pauseOf(execution, nowMs)}`;
  return execution.status === "not_started" ? t("one.notStarted") : t("one.running");
}

function cancellationOf({ cancelled_by: by, ended_ms: endedMs }: Execution): string {
  if (!by) return t("one.cancelled");
  return t("one.cancelled.by", { by, time: clock(endedMs ?? 0, serverNow(), locale()) });
}

/** That an execution is paused, where its wait tells of something else: a call is under way. */
function pauseOf(execution: Execution, nowMs: number): string {
  if (!execution.paused || execution.wait?.kind === "paused") return "";
  const { paused_by: by, paused_ms: since } = execution;
  const wait = { kind: "paused", since_ms: since, detail: by ? { by } : {} };
  return ` ${waitSentence(wait, nowMs)}`;
}

function failureOf(execution: Execution): string {
  const { failure } = execution;
  const { said } = toldOf(failing(execution));
  if (failure === null || failure.task === "") return t("one.failedPlain", { message: said });
  return t("one.failed", { task: failure.task, message: said });
}

function failing({ failure, code, message }: Execution): Parameters<typeof toldOf>[0] {
  return {
    code: failure?.code ?? code,
    message: failure?.message ?? message,
    sentence: failure?.sentence ?? null,
  };
}

/** The message of a failure as it is on the wire, where the sentence says it otherwise. */
function wireOf(execution: Execution): string | undefined {
  if (execution.status !== "failed" || execution.cancelled) return undefined;
  return toldOf(failing(execution)).wire;
}
