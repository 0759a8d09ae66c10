/** A dry run: the calls that would be made, each with its input, and the answers that they get. */

import { type JSX, useId, useState } from "react";
import type { DryCall, DryRun, Graph } from "../api/types";
import { StillGraph } from "../execution/graph/graph_view";
import { jsonObject } from "../execution/json_object";
import { duration } from "../format";
import { ErrorNote } from "../parts/controls";
import { JsonView } from "../parts/json_view";
import { StatusLabel } from "../parts/status";
import { number, t } from "../words";
import { AnswerForm } from "./answer_form";
import { baseOf } from "./draft_graph";
import { ExecutionChoice } from "./execution_choice";
import { type GivenAnswer, tried } from "./queries";

type Answers = Readonly<Record<string, GivenAnswer>>;

export function DryRunView({
  text,
  isValid,
  flow,
  task,
  onTask,
}: {
  text: string;
  isValid: boolean;
  flow: string | null;
  task: string | null;
  onTask: (task: string | null) => void;
}): JSX.Element {
  const field = useId();
  const [input, setInput] = useState("{}");
  const [past, setPast] = useState<string | null>(null);
  const [assumes, setAssumes] = useState(false);
  const [answers, setAnswers] = useState<Answers>({});
  const [result, setResult] = useState<DryRun | null>(null);
  const [error, setError] = useState<unknown>(null);
  const [isBusy, setBusy] = useState(false);
  const run = async (given: Answers = answers) => {
    setBusy(true);
    setError(null);
    try {
      const data = past !== null && input.trim() === "" ? null : jsonObject(input);
      if (data === null && input.trim() !== "") throw new Error(t("steer.badJson"));
      setResult(
        await tried(
          {
            definition: text,
            answers: given,
            assume: assumes,
            ...(data === null ? {} : { input: data }),
          },
          past,
        ),
      );
    } catch (caught) {
      setError(caught);
    } finally {
      setBusy(false);
    }
  };
  const answer = (name: string, given: GivenAnswer | null) => {
    const { [name]: _, ...others } = answers;
    const next = given === null ? others : { ...others, [name]: given };
    setAnswers(next);
    void run(next);
  };
  return (
    <div className="stack dry-run">
      <p className="muted">{t("try.what")}</p>
      <div className="form">
        <label htmlFor={field}>{t("inspector.input")}</label>
        <textarea
          id={field}
          className="field"
          rows={4}
          spellCheck={false}
          value={input}
          placeholder={past === null ? "{}" : t("try.inputOfPast")}
          onChange={(event) => setInput(event.target.value)}
        />
        <div className="row wrap">
          <span>{t("try.answers")}</span>
          <ExecutionChoice
            flow={flow}
            chosen={past}
            none={t("try.typed")}
            onChoose={(id) => {
              setPast(id);
              setInput(id === null ? "{}" : "");
            }}
          />
        </div>
        <label className="row check">
          <input
            type="checkbox"
            checked={assumes}
            onChange={(event) => setAssumes(event.target.checked)}
          />
          <span>{t("try.assume")}</span>
        </label>
      </div>
      <div className="row">
        <button
          type="button"
          className="button primary"
          disabled={!isValid || isBusy}
          onClick={() => void run()}
        >
          {t("try.run")}
        </button>
        {!isValid && <span className="muted">{t("try.invalid")}</span>}
      </div>
      {error !== null && <ErrorNote error={error} />}
      {result !== null && (
        <Result result={result} answers={answers} task={task} onTask={onTask} onAnswer={answer} />
      )}
    </div>
  );
}

function Result({
  result,
  answers,
  task,
  onTask,
  onAnswer,
}: {
  result: DryRun;
  answers: Answers;
  task: string | null;
  onTask: (task: string | null) => void;
  onAnswer: (name: string, given: GivenAnswer | null) => void;
}): JSX.Element {
  const waiting = result.waiting.filter(
    ({ task: name }) => !result.calls.some((call) => call.task === name && call.answer !== "given"),
  );
  return (
    <div className="stack" aria-live="polite">
      <p className="row wrap">
        <StatusLabel status={result.status} />
        <span>
          {t("try.result", {
            n: number(result.calls.length + result.more_calls),
            time: duration(result.took_ms),
          })}
        </span>
        {result.mapping_warnings > 0 && (
          <span className="s-held">
            {t("try.warnings", { n: number(result.mapping_warnings) })}
          </span>
        )}
      </p>
      {result.stopped !== null && <p className="note">{t(`try.stopped.${result.stopped}`)}</p>}
      {typeof result.message === "string" && result.status === "failed" && (
        <p className="mono" dir="auto">
          {result.message}
        </p>
      )}
      <TriedGraph result={result} task={task} onTask={onTask} />
      <h2>{t("try.calls")}</h2>
      {result.calls.length === 0 && <p className="muted">{t("try.noCalls")}</p>}
      <ol className="calls">
        {result.calls.map((call) => (
          <Call
            key={`${call.task}#${call.attempt}`}
            call={call}
            given={answers[call.task] ?? null}
            onTask={onTask}
            onAnswer={onAnswer}
          />
        ))}
      </ol>
      {result.more_calls > 0 && (
        <p className="muted">{t("one.more", { n: number(result.more_calls) })}</p>
      )}
      {waiting.map(({ task: name, base }) => (
        <div key={name} className="stack call">
          <p>
            <code dir="auto">{base}</code> {t("try.wakeUp")}
          </p>
          <AnswerForm
            given={answers[name] ?? null}
            isWakeUp
            onGive={(given) => onAnswer(name, given)}
          />
        </div>
      ))}
      <h2>{t("try.context")}</h2>
      <JsonView value={result.context} />
    </div>
  );
}

function TriedGraph({
  result,
  task,
  onTask,
}: {
  result: DryRun;
  task: string | null;
  onTask: (task: string | null) => void;
}): JSX.Element {
  const [open, setOpen] = useState<readonly string[]>([]);
  const levels = new Map<string, Graph>();
  for (const route of ["", ...open]) {
    const level = result.levels[route];
    if (level) levels.set(route, level);
  }
  const toggle = (route: string) =>
    setOpen((before) =>
      before.includes(route) ? before.filter((each) => each !== route) : [...before, route],
    );
  const names = [...levels.values()].flatMap((level) => level.nodes.map(({ name }) => name));
  return (
    <div className="tried-graph">
      <StillGraph
        answers={levels}
        task={names.find((name) => baseOf(name) === task) ?? null}
        onTask={(name) => name !== null && onTask(baseOf(name))}
        onToggle={toggle}
      />
    </div>
  );
}

const MARKS = {
  given: "s-succeeded",
  past: "s-succeeded",
  assumed: "s-delayed",
  awaited: "s-waiting",
  notice: "muted",
} as const;

function Call({
  call,
  given,
  onTask,
  onAnswer,
}: {
  call: DryCall;
  given: GivenAnswer | null;
  onTask: (task: string | null) => void;
  onAnswer: (name: string, given: GivenAnswer | null) => void;
}): JSX.Element {
  const [isOpen, setOpen] = useState(false);
  return (
    <li className="call">
      <div className="row wrap">
        <button type="button" className="link mono" onClick={() => onTask(call.base)} dir="auto">
          {call.task === "" ? t("try.notice") : call.task}
        </button>
        {call.attempt > 1 && (
          <span className="muted">{t("graph.attempts", { n: call.attempt })}</span>
        )}
        {call.at_ms > 0 && <span className="muted num">+{duration(call.at_ms)}</span>}
        <div className="grow" />
        <span className={MARKS[call.answer]}>{t(`try.${call.answer}`)}</span>
        {call.task !== "" && (
          <button
            type="button"
            className="button small"
            aria-expanded={isOpen}
            onClick={() => setOpen(!isOpen)}
          >
            {t("try.answer")}
          </button>
        )}
      </div>
      <div className="muted small cut mono" title={call.resource}>
        {call.pattern} {call.resource}
      </div>
      {call.error !== null && (
        <p className="s-failed" dir="auto">
          {call.error}
        </p>
      )}
      <JsonView value={call.input} />
      {isOpen && (
        <AnswerForm
          given={given}
          onGive={(next) => {
            setOpen(false);
            onAnswer(call.task, next);
          }}
        />
      )}
    </li>
  );
}
