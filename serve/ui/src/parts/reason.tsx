/** Why a rule or a condition gave nothing, in the language of the page. */

import type { JSX } from "react";
import type { Reason } from "../api/types";
import { type Key, t } from "../words";
import { Prose } from "./prose";

const CODES = new Set([
  "missing",
  "missing_element",
  "missing_below",
  "gives_null",
  "is_null",
  "no_source",
  "no_target",
  "task_places",
  "transform_nil",
  "no_place",
  "no_dollar",
  "not_kept",
  "root",
  "literal_path",
  "path_inside",
  "no_output",
  "nothing_to_filter",
  "did_you_mean",
]);
const KINDS: Readonly<Record<string, Key>> = {
  null: "kind.null",
  "a text": "kind.text",
  "a map": "kind.map",
  "a list": "kind.list",
  "a number": "kind.number",
  "a boolean": "kind.boolean",
};

/** The sentence of a reason; that of the server, which is English, where the page knows no other. */
export function reasonSentence(reason: string, reasons: readonly Reason[] = []): string {
  if (reasons.length === 0 || !reasons.every((each) => CODES.has(each.code) || isOther(each))) {
    return reason;
  }
  return reasons.map(said).join(t("reason.and"));
}

function isOther({ code, values }: Reason): boolean {
  return code === "other" && values.text !== undefined;
}

function said({ code, values }: Reason): string {
  if (code === "other") return values.text ?? "";
  const kind = KINDS[values.kind ?? ""];
  const told = {
    ...values,
    kind: kind === undefined ? "" : t(kind),
    kept: (values.kept ?? "").split(" and ").join(t("reason.or")),
  };
  return t(`reason.${code}` as Key, told);
}

export function ReasonText({
  reason,
  reasons,
}: {
  reason: string;
  reasons: readonly Reason[] | undefined;
}): JSX.Element {
  return <Prose text={reasonSentence(reason, reasons)} />;
}
