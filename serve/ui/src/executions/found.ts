/** The executions that a search finds, and doing something to many of them. */

import type { Row, RowPage } from "../api/types";

export const MOST_FOUND = 5_000;

export type Deed = "cancel" | "redo" | "resume";

/** Whether a deed may change an execution, as far as the list knows. */
export function concerns(deed: Deed, row: Row): boolean {
  if (deed === "redo") return row.status === "failed" || row.status === "cancelled";
  return !["succeeded", "failed", "cancelled", "skipped"].includes(row.status);
}

/**
 * Collect the ids that a deed concerns, page by page.
 *
 * @param page Asks for the page of a cursor.
 * @param onCount Is told how many were found so far; it returns false to stop.
 */
export async function collect(
  deed: Deed,
  page: (cursor: string | null) => Promise<RowPage>,
  onCount: (count: number) => boolean,
  most = MOST_FOUND,
): Promise<{ ids: string[]; isWhole: boolean }> {
  const ids: string[] = [];
  let cursor: string | null = null;
  do {
    const answer: RowPage = await page(cursor);
    for (const row of answer.rows) {
      if (ids.length < most && concerns(deed, row)) ids.push(row.execution_id);
    }
    cursor = answer.next;
  } while (onCount(ids.length) && cursor !== null && ids.length < most);
  return { ids, isWhole: cursor === null };
}

/** Do something to many, a few at a time, until `goesOn` says no; failures do not stop it. */
export async function forAll(
  ids: readonly string[],
  act: (id: string) => Promise<unknown>,
  onDone: (done: number, failures: readonly string[]) => void,
  goesOn: () => boolean,
  atOnce = 4,
): Promise<string[]> {
  const failures: string[] = [];
  let next = 0;
  let done = 0;
  const work = async () => {
    while (next < ids.length && goesOn()) {
      const id = ids[next++] ?? "";
      try {
        await act(id);
      } catch (error) {
        failures.push(error instanceof Error ? error.message : String(error));
      }
      done += 1;
      onDone(done, failures);
    }
  };
  await Promise.all(Array.from({ length: Math.min(atOnce, ids.length) }, work));
  return failures;
}
