/** Paths, expressions, conditions and mappings, tried on the data of an execution. */

import { type JSX, useState } from "react";
import type { Evaluation } from "../api/types";
import { ErrorNote } from "../parts/controls";
import { JsonView } from "../parts/json_view";
import { ReasonText } from "../parts/reason";
import { ConditionView, RuleRows } from "../parts/rule_views";
import { t } from "../words";
import { ExecutionChoice } from "./execution_choice";
import { type Question, useEvaluation, useSettled } from "./queries";

const KINDS = ["path", "expression", "condition", "mappings"] as const;
type Kind = (typeof KINDS)[number];

const FIRST: Readonly<Record<Kind, string>> = {
  path: "$.context",
  expression: "context",
  condition: "$.context.[?(@.name == 'Bob')]",
  mappings: "- { source: $.context.name, target: $.input.name }",
};

export function Playground({
  flow,
  execution,
  event,
  task: chosen,
  onExecution,
}: {
  /** Whose executions are offered; null where the execution is fixed. */
  flow: string | null;
  execution: string | null;
  event: number | null;
  /** The instance whose data are meant; null lets the reader say it. */
  task: string | null;
  onExecution: ((id: string | null) => void) | null;
}): JSX.Element {
  const [kind, setKind] = useState<Kind>("path");
  const [texts, setTexts] = useState(FIRST);
  const [named, setNamed] = useState("");
  const text = texts[kind];
  const asked: Question | null =
    execution === null
      ? null
      : {
          execution_id: execution,
          kind,
          text,
          task: chosen ?? named.trim(),
          ...(event === null ? {} : { event }),
        };
  const found = useEvaluation(useSettledQuestion(asked));
  return (
    <div className="stack playground">
      <p className="muted">
        {t("play.what")}{" "}
        {event !== null && <span className="num">{t("play.event", { seq: event })}</span>}
      </p>
      <div className="row wrap">
        {onExecution !== null && (
          <ExecutionChoice
            flow={flow}
            chosen={execution}
            none={t("play.choose")}
            onChoose={onExecution}
          />
        )}
        {chosen === null ? (
          <input
            className="field mono"
            aria-label={t("play.task")}
            placeholder={t("play.task")}
            value={named}
            onChange={(change) => setNamed(change.target.value)}
          />
        ) : (
          <span className="muted">
            {t("play.of")} <code dir="auto">{chosen}</code>
          </span>
        )}
      </div>
      <div className="row wrap" role="group" aria-label={t("play.kind")}>
        {KINDS.map((each) => (
          <button
            key={each}
            type="button"
            className="button small"
            aria-pressed={kind === each}
            onClick={() => setKind(each)}
          >
            {t(`play.${each}`)}
          </button>
        ))}
      </div>
      <textarea
        className="field"
        rows={kind === "mappings" ? 5 : 2}
        spellCheck={false}
        aria-label={t(`play.${kind}`)}
        value={text}
        onChange={(change) => setTexts({ ...texts, [kind]: change.target.value })}
      />
      {execution === null && <p className="muted">{t("play.needsExecution")}</p>}
      {found.isError && <ErrorNote error={found.error} />}
      {execution !== null && found.data !== undefined && !found.isError && (
        <div className="answered" aria-live="polite">
          <Answer answer={found.data} />
        </div>
      )}
    </div>
  );
}

/** The question, when nothing of it has changed for a moment. */
function useSettledQuestion(question: Question | null): Question | null {
  const settled = useSettled(question === null ? "" : JSON.stringify(question));
  return settled === "" ? null : (JSON.parse(settled) as Question);
}

function Answer({ answer }: { answer: Evaluation }): JSX.Element {
  if (answer.condition !== undefined) return <ConditionView condition={answer.condition} />;
  if (answer.rules !== undefined) {
    return (
      <div className="stack">
        <RuleRows rules={answer.rules} />
        <h3>{t("inspector.input")}</h3>
        <JsonView value={answer.input} />
      </div>
    );
  }
  if (answer.error) {
    return (
      <p className="s-failed" dir="auto">
        {answer.error}
      </p>
    );
  }
  return (
    <div className="stack">
      <JsonView value={answer.value} />
      {answer.reason && (
        <p className="muted">
          <ReasonText reason={answer.reason} reasons={answer.reasons} />
        </p>
      )}
    </div>
  );
}
