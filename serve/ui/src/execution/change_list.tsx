/** What one event changed in the context, as lines taken away and lines added. */

import type { JSX } from "react";
import { useAnswer } from "../api/queries";
import type { Change, Changes } from "../api/types";
import { cut } from "../format";
import { ErrorNote } from "../parts/controls";
import { cutOf } from "../parts/json_view";
import { number, t } from "../words";

const MOST = 400;

export function ChangeList({ id, seq }: { id: string; seq: number }): JSX.Element {
  const found = useAnswer<Changes>("changes.json", { execution_id: id, seq });
  if (found.data === undefined) {
    return found.isError ? <ErrorNote error={found.error} /> : <div aria-busy="true" />;
  }
  const { changes, more = 0 } = found.data;
  if (changes.length === 0) return <p className="muted">{t("events.noChanges")}</p>;
  return (
    <div className="diff mono">
      {changes.map((change) => (
        <ChangeLines key={`${change.route}${change.path}`} change={change} />
      ))}
      {more > 0 && <div className="muted">{t("one.more", { n: number(more) })}</div>}
    </div>
  );
}

export function ChangeLines({
  change,
}: {
  change: Omit<Change, "route" | "task"> & { readonly route?: string };
}): JSX.Element {
  const name = `${change.route ?? ""}${change.path}`;
  return (
    <>
      {change.op !== "add" && (
        <div className="minus">
          <span className="sign">-</span>
          <span>{name}: </span>
          <bdi>{shown(change.before)}</bdi>
        </div>
      )}
      {change.op !== "remove" && (
        <div className="plus">
          <span className="sign">+</span>
          <span>{name}: </span>
          <bdi>{shown(change.after)}</bdi>
        </div>
      )}
    </>
  );
}

function shown(value: unknown): string {
  const part = cutOf(value);
  return cut(part === null ? (JSON.stringify(value) ?? "") : (part.head ?? "…"), MOST);
}
