/** Mappings with what they gave, and conditions with why they are true or false. */

import type { JSX } from "react";
import type { AppliedRule, Condition, ConditionPart } from "../api/types";
import { number, t } from "../words";
import { JsonView } from "./json_view";
import { ReasonText, reasonSentence } from "./reason";
import { StatusIcon } from "./status";

/** Each rule of a list: source and target, and the value, or why there is none. */
export function RuleRows({ rules }: { rules: readonly AppliedRule[] }): JSX.Element {
  if (rules.length === 0) return <p className="muted">{t("rules.none")}</p>;
  return (
    <ol className="rules">
      {rules.map((rule) => (
        <li key={rule.number} className={rule.kind === null ? "" : "idle"}>
          <div className="row">
            <StatusIcon status={markOf(rule)} label={false} />
            <span className="unseen">{t(rule.kind === null ? "rules.gave" : "rules.passed")}</span>
            <code className="grow" dir="auto">
              {rule.rule}
            </code>
          </div>
          {rule.has_value && (
            <div className="value">
              <Brief value={rule.value} />
            </div>
          )}
          {rule.reason !== null && (
            <p className="muted">
              <ReasonText reason={rule.reason} reasons={rule.reasons} />
            </p>
          )}
        </li>
      ))}
    </ol>
  );
}

function markOf(rule: AppliedRule): "succeeded" | "failed" | "skipped" {
  if (rule.kind === null) return "succeeded";
  return rule.kind === "failed" ? "failed" : "skipped";
}

/** A condition: whether it holds, and the value of each of its parts. */
export function ConditionView({ condition }: { condition: Condition }): JSX.Element {
  return (
    <div className="condition">
      <div className="row">
        <Truth isTrue={condition.is_true} />
        <code className="grow" dir="auto">
          {condition.condition}
        </code>
      </div>
      {condition.field !== "" && (
        <div className="muted small">
          <span className="mono">{condition.field}</span>
          {condition.next !== null && <> → {condition.next}</>}
        </div>
      )}
      {condition.reason !== null && (
        <p className="muted">
          <ReasonText reason={condition.reason} reasons={condition.reasons} />
        </p>
      )}
      {condition.is_true === true && condition.parts.length === 0 && (
        <div className="value">
          <Brief value={condition.value} />
        </div>
      )}
      {condition.parts.length > 0 && <Parts parts={condition.parts} />}
      {condition.more_items > 0 && (
        <p className="muted">{t("rules.moreItems", { n: number(condition.more_items) })}</p>
      )}
    </div>
  );
}

function Truth({ isTrue }: { isTrue: boolean | null }): JSX.Element {
  const [status, word] =
    isTrue === null
      ? (["skipped", "rules.unknown"] as const)
      : isTrue
        ? (["succeeded", "rules.true"] as const)
        : (["failed", "rules.false"] as const);
  return (
    <span className={`row truth s-${isTrue === true ? "succeeded" : "cancelled"}`}>
      <StatusIcon status={isTrue === false ? "cancelled" : status} label={false} />
      {t(word)}
    </span>
  );
}

/** A value in one line where it is short. */
function Brief({ value }: { value: unknown }): JSX.Element {
  if (typeof value === "object" && value !== null) return <JsonView value={value} />;
  return <code dir="auto">{JSON.stringify(value)}</code>;
}

function Parts({ parts }: { parts: readonly ConditionPart[] }): JSX.Element {
  const isOne = parts.every((part) => part.item === 0);
  return (
    <table className="parts">
      <thead>
        <tr>
          {!isOne && <th scope="col">{t("rules.item")}</th>}
          <th scope="col">{t("rules.part")}</th>
          <th scope="col">{t("rules.value")}</th>
          <th scope="col">{t("rules.holds")}</th>
        </tr>
      </thead>
      <tbody>
        {parts.map((part) => (
          <tr key={`${part.item}:${part.part}`}>
            {!isOne && <td className="num">{part.item}</td>}
            <td>
              <code dir="auto">{part.part}</code>
            </td>
            <td>
              {part.has_value ? (
                <Brief value={part.value} />
              ) : (
                <span className="muted">
                  {part.reason === null
                    ? t("rules.missing")
                    : reasonSentence(part.reason, part.reasons)}
                </span>
              )}
            </td>
            <td>
              <Truth isTrue={part.is_true} />
            </td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}
