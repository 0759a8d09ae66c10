/** The mappings and conditions of a task, with the values that they had. */

import type { JSX } from "react";
import { useAnswer } from "../api/queries";
import type { RuleList, TaskRules } from "../api/types";
import { ErrorNote } from "../parts/controls";
import { ConditionView, RuleRows } from "../parts/rule_views";
import { t } from "../words";
import { Section } from "./section";

export function TaskRulesView({
  id,
  task,
  event,
  fallback,
}: {
  id: string;
  task: string;
  event: number | null;
  fallback: JSX.Element | null;
}): JSX.Element | null {
  const found = useAnswer<TaskRules>("rules.json", { execution_id: id, task, event });
  if (found.data === undefined) {
    return (
      <>
        {fallback}
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
