/** The buttons of an execution. Each asks once, and says what will happen. */

import { useQuery } from "@tanstack/react-query";
import { type JSX, useState } from "react";
import { allows, type Rights, useRights } from "../access";
import { formatAddress, go } from "../address";
import { addressOf, ask, post, sendForText } from "../api/client";
import type { Execution, JournalEvent } from "../api/types";
import { Confirm, Dialog, ErrorNote } from "../parts/controls";
import type { Done } from "../parts/done_note";
import { number, t } from "../words";
import { jsonObject } from "./json_object";
import { RedoFrom, useRedoPlan } from "./redo_from";

/** For so long a tab that shows an answer may be read anew. */
const KEPT_MS = 600_000;

type Deed = "pause" | "resume" | "cancel" | "redo" | "redoFrom" | "again";

export function Steering({
  execution,
  task,
  onDone,
}: {
  execution: Execution;
  /** The instance that is selected, from which a redo may begin. */
  task: string | null;
  onDone: (done: Done) => void;
}): JSX.Element {
  const [deed, setDeed] = useState<Deed | null>(null);
  const close = () => setDeed(null);
  const rights = useRights();
  const id = execution.execution_id;
  const isRedoneFrom = useRedoPlan(id, task) !== null;
  return (
    <div className="row wrap">
      {deedsOf(execution, rights, isRedoneFrom).map((each) => (
        <button
          type="button"
          key={each}
          className={`button small ${each === "cancel" ? "danger" : ""}`}
          onClick={() => setDeed(each)}
        >
          {t(`steer.${each}`)}
        </button>
      ))}
      <ShowJson id={id} />
      {execution.trace_url && (
        <a
          className="button quiet small"
          href={execution.trace_url}
          target="_blank"
          rel="noreferrer"
        >
          {t("steer.trace")}
        </a>
      )}
      {deed === "again" && <SubmitAgain execution={execution} onClose={close} />}
      {deed === "redoFrom" && task !== null && (
        <RedoFrom id={id} instance={task} onClose={close} onDone={onDone} />
      )}
      {isPlain(deed) && <Steer deed={deed} execution={execution} onClose={close} onDone={onDone} />}
    </div>
  );
}

/** Show the answer of the API in a tab of its own. A link could not send the session's token. */
function ShowJson({ id }: { id: string }): JSX.Element {
  const [error, setError] = useState<unknown>(null);
  const show = async () => {
    setError(null);
    try {
      const text = await sendForText("GET", addressOf("flow/get.json", { execution_id: id }));
      const address = URL.createObjectURL(new Blob([text], { type: "application/json" }));
      window.open(address, "_blank", "noopener");
      setTimeout(() => URL.revokeObjectURL(address), KEPT_MS);
    } catch (caught) {
      setError(caught);
    }
  };
  return (
    <>
      <button type="button" className="button quiet small" onClick={() => void show()}>
        {t("steer.json")}
      </button>
      {error !== null && <ErrorNote error={error} />}
    </>
  );
}

/** What can be done now by the key that is signed in, the most likely first. */
export function deedsOf(execution: Execution, rights: Rights, isRedoneFrom = false): Deed[] {
  const hasEnded = execution.ended_ms !== null;
  const deeds: Deed[] = [];
  const hasFailed = (execution.tasks.failed ?? 0) > 0 || execution.status === "failed";
  // A redo also releases what is in quarantine.
  if (hasFailed || execution.cancelled || execution.quarantine != null) deeds.push("redo");
  if (isRedoneFrom) deeds.push("redoFrom");
  if (!hasEnded) deeds.push(execution.paused ? "resume" : "pause");
  if (!hasEnded) deeds.push("cancel");
  const allowed = allows(rights, "operator") ? deeds : [];
  return allows(rights, "submitter") ? [...allowed, "again"] : allowed;
}

/** What needs no more than to be confirmed. */
type Plain = Exclude<Deed, "again" | "redoFrom">;

function isPlain(deed: Deed | null): deed is Plain {
  return deed !== null && deed !== "again" && deed !== "redoFrom";
}

const ROUTES: Readonly<Record<Plain, readonly [string, Record<string, string>]>> = {
  pause: ["flow/pause.json", {}],
  resume: ["flow/resume.json", {}],
  cancel: ["flow/cancel.json", {}],
  redo: ["flow/redo.json", { scope: "failed" }],
};

/** What is told of a deed: the way back where there is one, else where to see what came of it. */
export function doneOf(deed: Plain, execution: Execution): Done {
  const id = execution.execution_id;
  const text = t(`done.${deed}`, { failed: number(execution.tasks.failed ?? 0) });
  if (deed === "pause" || deed === "resume") {
    const other = deed === "pause" ? "resume" : "pause";
    const undo = async () => {
      await post(ROUTES[other][0], { execution_id: id });
      return doneOf(other, execution);
    };
    return { text, undo };
  }
  const task = deed === "redo" ? execution.failure?.task || undefined : undefined;
  const address = formatAddress(["execution", id], task ? { task } : { tab: "events" });
  return { text, links: [[address, task ? t("done.task", { task }) : t("done.events")]] };
}

function Steer({
  deed,
  execution,
  onClose,
  onDone,
}: {
  deed: Plain;
  execution: Execution;
  onClose: () => void;
  onDone: (done: Done) => void;
}): JSX.Element {
  const [path, params] = ROUTES[deed];
  const { tasks } = execution;
  const open = ["running", "waiting", "delayed", "held", "not_started"] as const;
  const values = {
    n: number(open.reduce((sum, status) => sum + (tasks[status] ?? 0), 0)),
    failed: number(tasks.failed ?? 0),
    succeeded: number(tasks.succeeded ?? 0),
  };
  return (
    <Confirm
      title={t(`steer.${deed}.title`)}
      text={t(`steer.${deed}.text`, values)}
      action={t(`steer.${deed}`)}
      danger={deed === "cancel"}
      onClose={onClose}
      onDo={async () => {
        await post(path, { execution_id: execution.execution_id, ...params });
        onDone(doneOf(deed, execution));
      }}
    />
  );
}

/** Find the input of a submission in the data of its first event. */
export function inputOf(event: JournalEvent | undefined): unknown {
  const data = event?.data;
  if (typeof data !== "object" || data === null) return {};
  const found = data as Record<string, unknown>;
  return found.context ?? found.data ?? found.input ?? {};
}

function SubmitAgain({
  execution,
  onClose,
}: {
  execution: Execution;
  onClose: () => void;
}): JSX.Element {
  const first = useQuery({
    queryKey: ["event.json", { execution_id: execution.execution_id, seq: 1 }],
    queryFn: () =>
      ask<JournalEvent>("event.json", { execution_id: execution.execution_id, seq: 1 }),
    staleTime: Number.POSITIVE_INFINITY,
  });
  const flow = `${execution.business}:${execution.feature}`;
  if (first.isPending)
    return (
      <Dialog title={t("steer.again.title")} onClose={onClose}>
        {null}
      </Dialog>
    );
  if (first.isError) {
    return (
      <Dialog title={t("steer.again.title")} onClose={onClose}>
        <ErrorNote error={first.error} />
      </Dialog>
    );
  }
  return (
    <JsonDialog
      title={t("steer.again.title")}
      text={t("steer.again.text", { flow })}
      action={t("steer.again")}
      initial={inputOf(first.data)}
      onClose={onClose}
      onDo={async (input) => {
        const { execution_id: id } = await post<{ execution_id: string }>(
          "flow/submit.json",
          { descriptor_id: flow },
          input,
        );
        go(formatAddress(["execution", id]));
      }}
    />
  );
}

/** A dialog that sends a JSON object. */
export function JsonDialog({
  title,
  text,
  action,
  initial,
  onClose,
  onDo,
}: {
  title: string;
  text: string;
  action: string;
  initial: unknown;
  onClose: () => void;
  onDo: (value: Record<string, unknown>) => Promise<unknown>;
}): JSX.Element {
  const [draft, setDraft] = useState(() => JSON.stringify(initial, null, 2));
  return (
    <Confirm
      title={title}
      text={text}
      action={action}
      onClose={onClose}
      onDo={async () => {
        const value = jsonObject(draft);
        if (value === null) throw new Error(t("steer.badJson"));
        await onDo(value);
      }}
    >
      <textarea
        className="field"
        rows={12}
        spellCheck={false}
        aria-label={title}
        value={draft}
        onChange={(event) => setDraft(event.target.value)}
      />
    </Confirm>
  );
}
