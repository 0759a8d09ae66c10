/** What is told of a failure and of mapping warnings, in the list and on the page of one. */

import type { MappingWarning, TaskRules } from "../api/types";
import { number, t } from "../words";

export interface Told {
  /** What is shown: the plain sentence, or code and message where there is none. */
  readonly said: string;
  /** Code and message as they are on the wire; undefined where they are what is shown. */
  readonly wire: string | undefined;
}

interface Failing {
  readonly code: string | null;
  readonly message: string | null;
  readonly sentence?: string | null;
}

export function toldOf({ code, message, sentence }: Failing): Told {
  const wire = [code, message].filter((each) => each !== null && each !== "").join(" ");
  if (sentence == null || sentence === "" || sentence === wire) {
    return { said: wire, wire: undefined };
  }
  return { said: sentence, wire };
}

/** How many mappings had no effect: `3 mapping warnings`. */
export function warningsOf(count: number): string {
  return t(count === 1 ? "warnings.one" : "warnings.many", { n: number(count) });
}

/** Warnings of lists whose rules are not shown: of one that was not applied as a whole, say. */
export function warningsOutside(
  warnings: readonly MappingWarning[],
  { inputs, outputs }: Pick<TaskRules, "inputs" | "outputs">,
): readonly MappingWarning[] {
  const shown = new Set<string>();
  if (inputs.rules.length > 0) shown.add("inputMappings");
  if (outputs !== null && outputs.rules.length > 0) shown.add("outputMappings");
  return warnings.filter((each) => each.number === 0 || !shown.has(each.mappings));
}
