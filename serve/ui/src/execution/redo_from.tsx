/** Redoing an execution from a task, after a person has read what runs again and what is kept. */

import type { JSX } from "react";
import { formatAddress } from "../address";
import { post } from "../api/client";
import { useAnswer } from "../api/queries";
import type { Graph } from "../api/types";
import { Confirm } from "../parts/controls";
import type { Done } from "../parts/done_note";
import { StatusIcon } from "../parts/status";
import { number, t } from "../words";
import { type RedoPlan, redoPlan, topOf } from "./redo_plan";

/** So many of the tasks that run again are named. */
const MOST_NAMED = 12;

/** What a redo from an instance would run again now; null while it is not known, or nothing. */
export function useRedoPlan(id: string, instance: string | null): RedoPlan | null {
  const found = useAnswer<Graph>(
    "graph.json",
    { execution_id: id, route: "", event: null },
    { enabled: instance !== null },
  );
  if (instance === null || found.data === undefined) return null;
  return redoPlan(found.data, instance);
}

export function RedoFrom({
  id,
  instance,
  onClose,
  onDone,
}: {
  id: string;
  instance: string;
  onClose: () => void;
  onDone: (done: Done) => void;
}): JSX.Element {
  const plan = useRedoPlan(id, instance);
  const top = topOf(instance);
  const after = plan?.after ?? [];
  const items = plan?.top.group?.total ?? 0;
  const rest = after.length - MOST_NAMED;
  return (
    <Confirm
      title={t("steer.redoFrom.title", { task: top })}
      text={t("steer.redoFrom.text", { task: top })}
      action={t("steer.redoFrom")}
      isReady={plan !== null}
      onClose={onClose}
      onDo={async () => {
        await post("flow/redo.json", { execution_id: id, task_names: top });
        const address = formatAddress(["execution", id], { task: top });
        const links = [[address, t("done.task", { task: top })]] as const;
        onDone({ text: t("done.redoFrom", { task: top }), links });
      }}
    >
      {instance !== top && (
        <p className="note">{t("steer.redoFrom.inside", { task: instance, top })}</p>
      )}
      {items > 0 && <p>{t("steer.redoFrom.items", { task: top, n: number(items) })}</p>}
      <p>{t(after.length === 0 ? "steer.redoFrom.alone" : "steer.redoFrom.after")}</p>
      {after.length > 0 && (
        <ul className="row wrap again">
          {after.slice(0, MOST_NAMED).map((node) => (
            <li key={node.name} className="row">
              <StatusIcon status={node.status} />
              <span className="mono cut" dir="auto">
                {node.name}
              </span>
            </li>
          ))}
          {rest > 0 && <li className="muted">{t("one.more", { n: number(rest) })}</li>}
        </ul>
      )}
    </Confirm>
  );
}
