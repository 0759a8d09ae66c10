/** What the stack holds: its store and backlog, and the executions in quarantine. */

import type { JSX } from "react";
import { formatAddress } from "../address";
import type { Minutes, Operations, Trigger } from "../api/types";
import { duration, shortId, size } from "../format";
import { StatusIcon } from "../parts/status";
import { type Key, number, t } from "../words";
import { Section, Table } from "./tables";

const REPLICA = "replica:";

export function Figures({
  state,
  minutes,
  triggers,
}: {
  state: Operations;
  minutes: Minutes | undefined;
  triggers: readonly Trigger[] | undefined;
}): JSX.Element {
  return (
    <Section title={t("ops.holds")}>
      <dl className="figures">
        {figuresOf(state, minutes, triggers).map(([key, told]) => (
          <div key={key}>
            <dt>{t(key)}</dt>
            <dd className="num">{told}</dd>
          </div>
        ))}
      </dl>
    </Section>
  );
}

/** The figures of a stack, without those that its server does not tell. */
export function figuresOf(
  { store, cluster, dispatchers }: Pick<Operations, "store" | "cluster" | "dispatchers">,
  minutes: Pick<Minutes, "processes"> | undefined,
  triggers: readonly Trigger[] | undefined,
): [Key, string][] {
  const actors = cluster?.actors ?? [];
  const appends = actors.map((actor) => actor.append_ms ?? 0).filter((ms) => ms > 0);
  const replicas = minutes?.processes?.filter((each) => each.startsWith(REPLICA)).length ?? 0;
  const told: [Key, string | null][] = [
    ["ops.store", store === undefined ? null : size(store.bytes)],
    ["ops.unfinished", counted(cluster?.unfinished_executions)],
    ["ops.hot", actors.length === 0 ? null : number(sum(actors.map(({ hot }) => hot ?? 0)))],
    ["ops.queue", actors.length === 0 ? null : number(sum(actors.map(({ queue }) => queue ?? 0)))],
    ["ops.append", appends.length === 0 ? null : duration(Math.max(1, ...appends))],
    ["ops.replicas", replicas === 0 ? null : number(replicas)],
    ["ops.dispatchers", `${number(dispatchers.reached)}/${number(dispatchers.count)}`],
    ["nav.triggers", counted(triggers?.length)],
  ];
  return told.filter((each): each is [Key, string] => each[1] !== null);
}

function counted(value: number | undefined): string | null {
  return value === undefined ? null : number(value);
}

function sum(values: readonly number[]): number {
  return values.reduce((total, each) => total + each, 0);
}

/** The executions that are not run any more, and why; each leads to what releases it. */
export function Quarantine({ state }: { state: Operations }): JSX.Element | null {
  const { total = 0, executions = [] } = state.quarantined ?? {};
  if (total === 0) return null;
  return (
    <Section title={t("ops.quarantine")}>
      <Table
        label={t("ops.quarantine")}
        head={["list.column.workflow", "list.column.execution", "ops.reason"]}
        numbers={0}
      >
        {executions.map(({ execution_id: id, reason }) => (
          <tr key={id}>
            <th scope="row">
              <span className="row">
                <StatusIcon status="held" /> {id.replace(/_c_.*$/, "")}
              </span>
            </th>
            <td className="mono">
              <a href={formatAddress(["execution", id])} title={id}>
                {shortId(id)}
              </a>
            </td>
            <td className="reason" dir="auto">
              {reason}
            </td>
          </tr>
        ))}
      </Table>
      {total > executions.length && (
        <p className="muted">{t("ops.quarantineMore", { n: number(total - executions.length) })}</p>
      )}
    </Section>
  );
}
