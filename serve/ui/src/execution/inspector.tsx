/** One task: why it waits or failed, what went in and out, its attempts, what can be done. */

import { type JSX, useState } from "react";
import { allows, type Rights, useRights } from "../access";
import { formatAddress } from "../address";
import { ApiError, post } from "../api/client";
import { useAnswer } from "../api/queries";
import type { Execution, TaskDetail, TaskProgress } from "../api/types";
import { ArtifactList } from "../artifacts/artifact_list";
import { artifactsIn } from "../artifacts/references";
import { duration, shortId } from "../format";
import { CopyButton, ErrorNote } from "../parts/controls";
import type { Done } from "../parts/done_note";
import { Icon } from "../parts/icons";
import { JsonView } from "../parts/json_view";
import { Prose } from "../parts/prose";
import { StatusIcon, StatusLabel } from "../parts/status";
import { Clock, useNow } from "../parts/time";
import { t } from "../words";
import { GroupItems } from "./group_items";
import { RedoFrom } from "./redo_from";
import { Section } from "./section";
import { JsonDialog } from "./steering";
import { TaskRulesView } from "./task_rules";
import { Answers, Log } from "./task_traffic";
import { toldOf } from "./told";
import { waitSentence } from "./waiting";

interface Shown {
  execution: Execution;
  task: string;
  event: number | null;
  onToggle: (route: string) => void;
  onClose: () => void;
  /** Told what was done to the task. */
  onDone: (done: Done) => void;
}

export function Inspector({
  execution,
  task,
  event,
  onToggle,
  onClose,
  onDone,
}: Shown): JSX.Element {
  const id = execution.execution_id;
  const found = useAnswer<TaskDetail>("task.json", { execution_id: id, task, event });
  const isUnknown = found.error instanceof ApiError && found.error.status === 404;
  return (
    <aside className="inspector" aria-label={t("inspector.label", { task })}>
      <div className="row">
        {found.data !== undefined && <StatusIcon status={found.data.status} />}
        <h2 className="cut grow" dir="auto" title={task}>
          {task}
        </h2>
        <button
          type="button"
          className="button quiet icon small"
          aria-label={t("action.close")}
          onClick={onClose}
        >
          <Icon name="close" />
        </button>
      </div>
      {found.isError && found.data === undefined && !isUnknown && <ErrorNote error={found.error} />}
      {isUnknown && <p className="muted">{t("inspector.nothing")}</p>}
      {found.data !== undefined && (
        <Detail
          execution={execution}
          task={found.data}
          isNow={event === null}
          event={event}
          onToggle={onToggle}
          onDone={onDone}
        />
      )}
    </aside>
  );
}

function Detail({
  execution,
  task,
  isNow,
  event,
  onToggle,
  onDone,
}: {
  execution: Execution;
  task: TaskDetail;
  isNow: boolean;
  event: number | null;
  onToggle: (route: string) => void;
  onDone: (done: Done) => void;
}): JSX.Element {
  return (
    <>
      <Why task={task} isNow={isNow} />
      {task.progress != null && <HowFar progress={task.progress} />}
      {isNow && <Deeds execution={execution} task={task} onDone={onDone} />}
      {task.sub_flow !== null && (
        <p className="row">
          {t("inspector.subFlow")}
          <a className="mono" href={formatAddress(["execution", task.sub_flow])}>
            {shortId(task.sub_flow)}
          </a>
        </p>
      )}
      {task.group !== null && (
        <Section title={t("inspector.items")}>
          <GroupItems
            id={execution.execution_id}
            task={task.name}
            group={task.group}
            event={event}
            onToggle={onToggle}
          />
        </Section>
      )}
      <Artifacts task={task} id={execution.execution_id} />
      <TaskRulesView
        id={execution.execution_id}
        task={task.name}
        event={event}
        warnings={task.warnings}
      />
      <Section title={t("inspector.input")} copy={task.input}>
        <Json value={task.input} />
      </Section>
      <Section title={t("inspector.output")} copy={task.output}>
        <Json value={task.output} />
      </Section>
      {task.attempts.length > 0 && <Attempts task={task} />}
      {task.category === "function" && (
        <>
          <Answers id={execution.execution_id} task={task} event={event} />
          <Log id={execution.execution_id} task={task} />
        </>
      )}
      {task.callback_url !== null && <Callback url={task.callback_url} />}
      <Section title={t("inspector.definition")} isClosed copy={task.definition}>
        <Json value={task.definition} />
      </Section>
    </>
  );
}

function Why({ task, isNow }: { task: TaskDetail; isNow: boolean }): JSX.Element {
  const ticking = useNow();
  const now = isNow ? ticking : task.at_ms;
  const { said: told, wire } = toldOf(task);
  return (
    <div className="why">
      <p className="row">
        <StatusLabel status={task.status} /> <span className="muted">{task.category}</span>
      </p>
      {task.wait !== null && (
        <p dir="auto">{waitSentence({ task: task.base, ...task.wait }, now)}</p>
      )}
      {told !== "" && task.status !== "succeeded" && (
        <p className={wire === undefined ? "mono told" : "told"} dir="auto">
          {told}
        </p>
      )}
      {wire !== undefined && task.status !== "succeeded" && (
        <p className="mono muted" dir="auto">
          {wire}
        </p>
      )}
      {task.hint !== null && (task.hint !== task.sentence || task.status === "succeeded") && (
        <p className="muted">
          <Prose text={task.hint} />
        </p>
      )}
    </div>
  );
}

/** How far the function of a task says that it is. */
function HowFar({ progress }: { progress: TaskProgress }): JSX.Element {
  const { fraction, message = "", time } = progress;
  return (
    <div className="how-far">
      {fraction !== undefined && (
        <>
          <progress max={1} value={fraction} aria-label={t("inspector.progress")} />
          <span className="num">{Math.round(100 * fraction)} %</span>
        </>
      )}
      <span className="grow" dir="auto">
        {message}
      </span>
      <span className="muted">
        <Clock ms={time} />
      </span>
    </div>
  );
}

/** What the task has made comes first, then what it was given. */
function Artifacts({ task, id }: { task: TaskDetail; id: string }): JSX.Element | null {
  const found = artifactsIn(task.output, task.input);
  if (found.length === 0) return null;
  return (
    <Section title={t("inspector.artifacts")}>
      <ArtifactList artifacts={found} executionId={id} />
    </Section>
  );
}

function Attempts({ task }: { task: TaskDetail }): JSX.Element {
  return (
    <Section title={t("inspector.attempts")}>
      <ol className="attempts">
        {task.attempts.map((each) => (
          <li key={each.number}>
            <span className="num">{each.number}</span>
            {each.started_ms !== null && <Clock ms={each.started_ms} isPrecise />}
            <span className="num">
              {each.started_ms !== null && each.ended_ms !== null
                ? duration(each.ended_ms - each.started_ms)
                : ""}
            </span>
            <span className={`grow ${each.error === null ? "" : "s-failed"}`} dir="auto">
              {each.error}
            </span>
          </li>
        ))}
      </ol>
      {task.attempts_left_out > 0 && (
        <p className="muted">{t("inspector.leftOut", { n: task.attempts_left_out })}</p>
      )}
    </Section>
  );
}

function Callback({ url }: { url: string }): JSX.Element {
  const curl = `curl -X POST -H 'Content-Type: application/json' -d '{}' '${url}'`;
  return (
    <Section title={t("inspector.callback")}>
      <div className="row">
        <span className="mono cut grow">{url}</span>
        <CopyButton text={curl} label={t("inspector.curl")} />
      </div>
    </Section>
  );
}

function Json({ value }: { value: unknown }): JSX.Element {
  if (value === null || value === undefined) {
    return <p className="muted">{t("inspector.nothing")}</p>;
  }
  return <JsonView value={value} />;
}

type Deed = "redo" | "finish" | "wakeup";

/** What moves this task, and is allowed: its outcome, a wake-up, or another run. */
export function deedsOf(task: TaskDetail, rights: Rights): Deed[] {
  const actions = task.wait?.actions ?? [];
  const deeds: Deed[] = [];
  if (!allows(rights, "submitter")) return deeds;
  if (actions.some((each) => each.startsWith("finish"))) deeds.push("finish");
  if (actions.some((each) => each.startsWith("wakeup"))) deeds.push("wakeup");
  const hasEnded = ["failed", "succeeded", "skipped", "cancelled"].includes(task.status);
  if (hasEnded && allows(rights, "operator")) deeds.push("redo");
  return deeds;
}

function Deeds({
  execution,
  task,
  onDone,
}: {
  execution: Execution;
  task: TaskDetail;
  onDone: (done: Done) => void;
}): JSX.Element | null {
  const [deed, setDeed] = useState<Deed | null>(null);
  const id = execution.execution_id;
  const deeds = deedsOf(task, useRights());
  if (deeds.length === 0) return null;
  const labels = {
    redo: "steer.redoFrom",
    finish: "steer.finish",
    wakeup: "steer.wakeup",
  } as const;
  const close = () => setDeed(null);
  return (
    <div className="row wrap">
      {deeds.map((each) => (
        <button type="button" key={each} className="button small" onClick={() => setDeed(each)}>
          {t(labels[each])}
        </button>
      ))}
      {deed === "redo" && <RedoFrom id={id} instance={task.name} onClose={close} onDone={onDone} />}
      {deed !== null && deed !== "redo" && (
        <JsonDialog
          title={t(`steer.${deed}.title`, { task: task.name })}
          text={t(`steer.${deed}.text`)}
          action={t(labels[deed])}
          initial={deed === "finish" ? { result_type: "SUCCESS" } : {}}
          onClose={close}
          onDo={(body) =>
            post(`flow/${deed}.json`, { execution_id: id, task_name: task.name }, body)
          }
        />
      )}
    </div>
  );
}
