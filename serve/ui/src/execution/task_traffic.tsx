/** What is read of a task only when somebody looks: what its function answered, and its log. */

import { useQuery } from "@tanstack/react-query";
import { type JSX, type ReactNode, useState } from "react";
import { addressOf, send } from "../api/client";
import { useAnswer } from "../api/queries";
import type { EventPage, JournalEvent, TaskDetail, TaskLog } from "../api/types";
import { cut, size } from "../format";
import { ErrorNote } from "../parts/controls";
import { JsonView } from "../parts/json_view";
import { Clock } from "../parts/time";
import { t } from "../words";
import { Section } from "./section";

const MOST_ANSWERS = 50;
const LOG_MS = 5000;
/** An error may have the whole body in it, which is shown below. */
const MOST_SAID = 120;

/** A section whose content is asked for once it is opened. */
function Lazy({ title, children }: { title: string; children: () => ReactNode }): JSX.Element {
  const [isOpened, setOpened] = useState(false);
  return (
    <Section title={title} isClosed onOpen={() => setOpened(true)}>
      {isOpened && children()}
    </Section>
  );
}

interface Shown {
  id: string;
  task: TaskDetail;
  event: number | null;
}

/** The address that was called, and what has come back of each attempt. */
export function Answers(shown: Shown): JSX.Element {
  return <Lazy title={t("inspector.answers")}>{() => <AnswerList {...shown} />}</Lazy>;
}

function AnswerList({ id, task, event }: Shown): JSX.Element {
  const found = useAnswer<EventPage>("events.json", {
    execution_id: id,
    task: task.name,
    kind: "dispatch_answered",
    order: "desc",
    limit: MOST_ANSWERS,
  });
  if (found.data === undefined) {
    return found.isError ? <ErrorNote error={found.error} /> : <div aria-busy="true" />;
  }
  const until = event ?? Number.POSITIVE_INFINITY;
  const answers = found.data.events.filter(({ seq }) => seq <= until);
  const address = calledBy(task.definition);
  return (
    <>
      {address !== null && (
        <p className="mono told" dir="auto">
          {address}
        </p>
      )}
      {answers.length === 0 && <p className="muted">{t("inspector.noAnswers")}</p>}
      <ol className="answers">
        {answers.map((each) => (
          <Answer key={each.seq} id={id} answer={each} />
        ))}
      </ol>
    </>
  );
}

/** What a task calls, as its definition says it. */
export function calledBy(definition: unknown): string | null {
  if (typeof definition !== "object" || definition === null) return null;
  const { resourceName } = definition as Record<string, unknown>;
  return typeof resourceName === "string" ? resourceName : null;
}

function Answer({ id, answer }: { id: string; answer: JournalEvent }): JSX.Element {
  const [isOpened, setOpened] = useState(false);
  const status = answer.facts?.["http_status"];
  const error = answer.facts?.["error"];
  return (
    <li>
      <details onToggle={(event) => event.currentTarget.open && setOpened(true)}>
        <summary>
          <span className="num">{answer.attempt}</span>{" "}
          <Clock ms={answer.at_ms} isPrecise isStop={false} />{" "}
          <span className={error == null ? "" : "s-failed"} dir="auto">
            {[status == null ? "" : `HTTP ${status}`, cut(String(error ?? ""), MOST_SAID)].join(
              " ",
            )}
          </span>{" "}
          <span className="muted num">{size(answer.bytes)}</span>
        </summary>
        {isOpened && <AnswerData id={id} seq={answer.seq} />}
      </details>
    </li>
  );
}

function AnswerData({ id, seq }: { id: string; seq: number }): JSX.Element {
  const found = useAnswer<JournalEvent>("event.json", { execution_id: id, seq });
  if (found.data === undefined) {
    return found.isError ? <ErrorNote error={found.error} /> : <div aria-busy="true" />;
  }
  return <JsonView value={found.data.data} />;
}

/** What the last attempt has printed. */
export function Log({ id, task }: Pick<Shown, "id" | "task">): JSX.Element {
  return <Lazy title={t("inspector.log")}>{() => <LogText id={id} task={task} />}</Lazy>;
}

function LogText({ id, task }: Pick<Shown, "id" | "task">): JSX.Element {
  const isOpen = ["running", "waiting", "delayed", "held"].includes(task.status);
  const found = useQuery({
    queryKey: ["logs.json", id, task.name],
    queryFn: ({ signal }) =>
      send<TaskLog>(
        "GET",
        addressOf("flow/logs.json", { execution_id: id, task_name: task.name }),
        undefined,
        signal,
      ),
    refetchInterval: isOpen ? LOG_MS : false,
  });
  if (found.data === undefined) {
    return found.isError ? <ErrorNote error={found.error} /> : <div aria-busy="true" />;
  }
  const streams = (found.data.ret.streams ?? []).filter(({ text }) => text !== "");
  if (streams.length === 0) return <p className="muted">{t("inspector.noLog")}</p>;
  return (
    <>
      {streams.map(({ name, text, is_cut: isCut }) => (
        <div key={name}>
          {streams.length > 1 && <p className="muted small">{name}</p>}
          {isCut && <p className="muted small">{t("inspector.logEnd")}</p>}
          <pre className="log" tabIndex={0} role="region" aria-label={`${task.base} ${name}`}>
            {text}
          </pre>
        </div>
      ))}
    </>
  );
}
