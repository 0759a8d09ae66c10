/** The tables of the page of operations: hosts, busy functions, nodes, processes and loops. */

import type { JSX, ReactNode } from "react";
import type { Actor, Operations } from "../api/types";
import { duration } from "../format";
import { TableScroll } from "../parts/table_scroll";
import { type Key, number, t } from "../words";

export function Hosts({ state }: { state: Operations }): JSX.Element {
  if (state.hosts.length === 0) {
    return (
      <Section title={t("ops.hosts")}>
        <p className="muted">{t("ops.noHosts")}</p>
      </Section>
    );
  }
  return (
    <Section title={t("ops.hosts")}>
      <Table
        label={t("ops.hosts")}
        head={["ops.host", "ops.state", "ops.underWay", "ops.waiting", "ops.held", "ops.rate"]}
        numbers={4}
      >
        {state.hosts.map((host) => (
          <tr key={host.name}>
            <th scope="row" className="mono">
              {host.name}
            </th>
            <td>
              <span className={host.state === "closed" ? "muted" : "s-held"}>
                {circuitWord(host.state)}
                {host.open_for_ms !== null &&
                  host.open_for_ms > 0 &&
                  ` ${duration(host.open_for_ms)}`}
              </span>
            </td>
            <td className="num">{number(host.under_way)}</td>
            <td className="num">{number(host.waiting)}</td>
            <td className="num">{number(host.held)}</td>
            <td className="num">
              {host.rate_per_s === null ? "–" : `${number(host.rate_per_s)}/s`}
            </td>
          </tr>
        ))}
      </Table>
    </Section>
  );
}

export function Busy({ state }: { state: Operations }): JSX.Element | null {
  if (state.busy.length === 0) return null;
  return (
    <Section title={t("ops.busy")}>
      <Table label={t("ops.busy")} head={["ops.host", "list.column.took"]} numbers={1}>
        {state.busy.map((each) => (
          <tr key={each.resource}>
            <th scope="row" className="mono">
              {each.resource}
            </th>
            <td className="num">{duration(each.for_ms)}</td>
          </tr>
        ))}
      </Table>
    </Section>
  );
}

/** What each node holds; one alone holds everything, which is told elsewhere. */
export function Nodes({ state }: { state: Operations }): JSX.Element | null {
  const nodes = Map.groupBy(state.cluster?.actors ?? [], (actor) => actor.node ?? "");
  if (nodes.size < 2) return null;
  return (
    <Section title={t("ops.nodes")}>
      <Table
        label={t("ops.nodes")}
        head={["ops.node", "ops.actors", "ops.partitions", "ops.hot", "ops.underWay", "ops.queue"]}
        numbers={5}
      >
        {[...nodes].map(([node, actors]) => (
          <tr key={node}>
            <NodeName node={node} address={actors[0]?.address} />
            <td className="num">{number(actors.length)}</td>
            {(["partitions", "hot", "calls", "queue"] as const).map((name) => (
              <td key={name} className="num">
                {number(actors.reduce((sum, actor) => sum + (actor[name] ?? 0), 0))}
              </td>
            ))}
          </tr>
        ))}
      </Table>
    </Section>
  );
}

function NodeName({ node, address }: { node: string; address: string | undefined }): JSX.Element {
  return (
    <th scope="row" className="mono" title={node}>
      {address ?? node.slice(0, 12)}
    </th>
  );
}

export function Actors({ state }: { state: Operations }): JSX.Element | null {
  const actors = state.cluster?.actors ?? [];
  const silent = state.cluster?.silent ?? [];
  if (actors.length + silent.length === 0) return null;
  return (
    <Section title={t("ops.actors")}>
      <Table
        label={t("ops.actors")}
        head={["ops.actor", "ops.state.ready", "ops.node", "ops.pid", ...ACTOR_NUMBERS.keys()]}
        numbers={ACTOR_NUMBERS.size + 1}
      >
        {actors.map((actor) => (
          <ActorRow key={actor.name} actor={actor} />
        ))}
        {silent.map((name) => (
          <tr key={name}>
            <th scope="row" className="mono">
              {name}
            </th>
            <td className="s-held" colSpan={ACTOR_NUMBERS.size + 3}>
              {t("ops.silent")}
            </td>
          </tr>
        ))}
      </Table>
    </Section>
  );
}

const ACTOR_NUMBERS: ReadonlyMap<Key, "partitions" | "hot" | "calls" | "queue" | "restarts"> =
  new Map([
    ["ops.partitions", "partitions"],
    ["ops.hot", "hot"],
    ["ops.underWay", "calls"],
    ["ops.queue", "queue"],
    ["ops.restarts", "restarts"],
  ] as const);

function ActorRow({ actor }: { actor: Actor }): JSX.Element {
  return (
    <tr>
      <th scope="row" className="mono">
        {actor.name}
      </th>
      <td>
        <span className={actor.ready === false ? "s-held" : "muted"}>
          {t(actor.ready === false ? "ops.notReady" : "ops.ready")}
        </span>
      </td>
      <td className="mono" title={actor.node ?? ""}>
        {actor.address ?? (actor.node ?? "").slice(0, 12)}
      </td>
      <td className="num">{actor.pid ?? "–"}</td>
      {[...ACTOR_NUMBERS.values()].map((name) => (
        <td key={name} className="num">
          {actor[name] == null ? "–" : number(actor[name])}
        </td>
      ))}
    </tr>
  );
}

export function Loops({ state }: { state: Operations }): JSX.Element | null {
  if (state.loops.length === 0) return null;
  return (
    <Section title={t("ops.loops")}>
      <Table label={t("ops.loops")} head={["ops.actor", "list.column.took"]} numbers={1}>
        {state.loops.map((loop) => (
          <tr key={loop.process}>
            <th scope="row" className="mono">
              {loop.process}
            </th>
            <td className="num">{loop.reached ? duration(loop.longest_of_minute_ms) : "–"}</td>
          </tr>
        ))}
      </Table>
    </Section>
  );
}

export function Section({ title, children }: { title: string; children: ReactNode }): JSX.Element {
  return (
    <section className="stack">
      <h2>{title}</h2>
      {children}
    </section>
  );
}

/** A table whose last `numbers` columns have numbers. */
export function Table({
  label,
  head,
  numbers,
  children,
}: {
  label: string;
  head: readonly Key[];
  numbers: number;
  children: ReactNode;
}): JSX.Element {
  return (
    <TableScroll label={label}>
      <table className="table">
        <thead>
          <tr>
            {head.map((key, index) => (
              <th key={key} scope="col" className={index < head.length - numbers ? "" : "num"}>
                {t(key)}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>{children}</tbody>
      </table>
    </TableScroll>
  );
}

const CIRCUITS: Readonly<Record<string, Key>> = {
  closed: "ops.circuit.closed",
  open: "ops.circuit.open",
  half_open: "ops.circuit.half_open",
};

function circuitWord(state: string): string {
  const key = CIRCUITS[state];
  return key === undefined ? state : t(key);
}
