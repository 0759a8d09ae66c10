/** What is told of something that was done to some executions. */

import { formatAddress } from "../address";
import { post } from "../api/client";
import { shortId } from "../format";
import type { Done } from "../parts/done_note";
import { number, t } from "../words";
import { type Deed, forAll } from "./found";

const MOST_LINKS = 5;

/** Tell of a deed: a resumption can be taken back, and what came of others is linked to. */
export function doneToAll(deed: Deed, ids: readonly string[]): Done {
  const text = t(`done.all.${deed}`, { n: number(ids.length) });
  if (deed === "resume") return { text, undo: () => pauseAll(ids) };
  const links = ids
    .slice(0, MOST_LINKS)
    .map((id) => [formatAddress(["execution", id]), shortId(id)] as const);
  return { text, links };
}

async function pauseAll(ids: readonly string[]): Promise<Done> {
  const pause = (id: string) => post("flow/pause.json", { execution_id: id });
  const failures = await forAll(
    ids,
    pause,
    () => {},
    () => true,
  );
  if (failures.length > 0) throw new Error(t("bulk.refused", { n: failures.length }));
  return { text: t("done.all.pause", { n: number(ids.length) }) };
}
