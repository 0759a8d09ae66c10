/** The mappings and conditions of a task, with the values that they had. */

import type { JSX } from "react";
import { useAnswer } from "../api/queries";
import type { MappingWarning, RuleList, TaskRules } from "../api/types";
import { ErrorNote } from "../parts/controls";
import { ReasonText } from "../parts/reason";
import { ConditionView, RuleRows } from "../parts/rule_views";
import { t } from "../words";
import { Section } from "./section";
import { warningsOutside } from "./told";

export function TaskRulesView({
  id,
  task,
  event,
  warnings,
}: {
  id: string;
  task: string;
  event: number | null;
  /** What the task keeps, which is known without a replay of the journal. */
  warnings: readonly MappingWarning[];
}): JSX.Element | null {
  const found = useAnswer<TaskRules>("rules.json", { execution_id: id, task, event });
  if (found.data === undefined) {
    return (
      <>
        <Warnings warnings={warnings} />
        {found.isError && (
          <Section title={t("inspector.mappings")}>
            <ErrorNote error={found.error} onRetry={() => void found.refetch()} />
          </Section>
        )}
      </>
    );
  }
  const { inputs, outputs, conditions } = found.data;
  return (
    <>
      {conditions.length > 0 && (
        <Section title={t("inspector.conditions")}>
          <div className="stack">
            {conditions.map((each) => (
              <ConditionView key={each.field} condition={each} />
            ))}
          </div>
        </Section>
      )}
      {inputs.rules.length > 0 && (
        <Section title={t("inspector.inputMappings")}>
          <List list={inputs} />
        </Section>
      )}
      {outputs !== null && outputs.rules.length > 0 && (
        <Section title={t("inspector.outputMappings")}>
          <List list={outputs} />
        </Section>
      )}
      <Warnings warnings={warningsOutside(warnings, found.data)} />
    </>
  );
}

function List({ list }: { list: RuleList }): JSX.Element {
  return (
    <>
      {list.basis !== "exact" && (
        <p className="muted small">{t(`rules.${list.basis}`, { seq: list.seq })}</p>
      )}
      <RuleRows rules={list.rules} />
    </>
  );
}

function Warnings({ warnings }: { warnings: readonly MappingWarning[] }): JSX.Element | null {
  if (warnings.length === 0) return null;
  return (
    <Section title={t("inspector.warnings")}>
      <ul className="warnings">
        {warnings.map((each) => (
          <li key={`${each.mappings}${each.number}${each.rule}`}>
            <div className="mono">{each.rule === "" ? each.mappings : each.rule}</div>
            <div className="muted">
              <ReasonText reason={each.reason} reasons={each.reasons} />
            </div>
          </li>
        ))}
      </ul>
    </Section>
  );
}
