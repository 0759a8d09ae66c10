/** One trigger: how it is, what can be done to it, its settings, and what it has started. */

import { useQuery } from "@tanstack/react-query";
import { type JSX, type ReactNode, useState } from "react";
import { useMay } from "../access";
import { formatAddress, go } from "../address";
import { addressOf, ask, post, send } from "../api/client";
import { useSummary } from "../api/queries";
import type { Firing, FiringPage, Trigger } from "../api/types";
import { shortId } from "../format";
import { Confirm, ErrorNote } from "../parts/controls";
import { JsonView } from "../parts/json_view";
import { StatusIcon, StatusLabel } from "../parts/status";
import { TableScroll } from "../parts/table_scroll";
import { Clock, Took, useNow } from "../parts/time";
import { number, t } from "../words";
import { causeOf, flowOf, localOf, stateOf, utcOf } from "./told";

const REFRESH_MS = 5000;
const DAY_MS = 86_400_000;

export function TriggerView({ id }: { id: string }): JSX.Element {
  const found = useQuery({
    queryKey: ["triggers/show.json", id],
    queryFn: ({ signal }) =>
      send<Trigger>(
        "GET",
        addressOf("flow/triggers/show.json", { trigger_id: id }),
        undefined,
        signal,
      ),
    refetchInterval: REFRESH_MS,
  });
  const back = (
    <a className="button quiet small" href={formatAddress(["triggers"])}>
      {t("triggers.title")}
    </a>
  );
  if (found.data === undefined) {
    return (
      <div className="stack" aria-busy={found.error === null}>
        <div>{back}</div>
        {found.error !== null && (
          <ErrorNote error={found.error} onRetry={() => void found.refetch()} />
        )}
      </div>
    );
  }
  const trigger = found.data;
  return (
    <article className="stack trigger">
      <header className="one-title">
        {back}
        <h1 dir="auto">{trigger.id}</h1>
        <span className="tag">{trigger.type}</span>
        <div className="grow" />
        <Steering trigger={trigger} />
      </header>
      {found.isError && <ErrorNote error={found.error} />}
      <State trigger={trigger} />
      <Facts trigger={trigger} />
      <Firings trigger={trigger} />
      <Refusals trigger={trigger} />
      <Part title={t("triggers.context")}>
        {Object.keys(trigger.context ?? {}).length === 0 ? (
          <p className="muted">{t("context.empty")}</p>
        ) : (
          <JsonView value={trigger.context} />
        )}
      </Part>
    </article>
  );
}

function Part({ title, children }: { title: string; children: ReactNode }): JSX.Element {
  return (
    <section className="part">
      <h2>{title}</h2>
      {children}
    </section>
  );
}

function State({ trigger }: { trigger: Trigger }): JSX.Element {
  const state = stateOf(trigger, useNow());
  return (
    <p className="sentence" role="status">
      <span className={`status-label s-${state.status}`}>
        <StatusIcon status={state.status} label={false} />
      </span>
      <span className="num" dir="auto">
        {state.text}
        {state.sinceMs !== undefined && (
          <span className="muted">
            {" "}
            {t("triggers.since")} <Clock ms={state.sinceMs} isClock />
          </span>
        )}
      </span>
    </p>
  );
}

function Facts({ trigger }: { trigger: Trigger }): JSX.Element {
  const settings = trigger.kafka ?? trigger.webhook ?? trigger.source ?? null;
  return (
    <dl className="trigger-facts">
      <dt>{t("list.column.workflow")}</dt>
      <dd>
        <a href={formatAddress(["workflows", flowOf(trigger)])}>{trigger.descriptor_id}</a>
      </dd>
      <dt>{t(trigger.path == null ? "triggers.cause" : "triggers.address")}</dt>
      <dd className="mono" dir="auto">
        {trigger.path == null ? causeOf(trigger) : addressOfHook(trigger.path)}
      </dd>
      {trigger.next_ms != null && (
        <>
          <dt>{t("triggers.next")}</dt>
          <dd>
            <Clock ms={trigger.next_ms} />
          </dd>
        </>
      )}
      {(trigger.start != null || trigger.end != null) && (
        <>
          <dt>{t("triggers.span")}</dt>
          <dd className="num">
            {trigger.start ?? "…"} – {trigger.end ?? "…"}
          </dd>
        </>
      )}
      {trigger.cron != null && (
        <>
          <dt>{t("triggers.policy")}</dt>
          <dd>
            <code>overlap: {trigger.overlap ?? "allow"}</code>{" "}
            <code>catch_up: {String(trigger.catch_up ?? "last")}</code>
            {trigger.jitter_s != null && <code> jitter_s: {trigger.jitter_s}</code>}
          </dd>
        </>
      )}
      <dt>{t("triggers.count")}</dt>
      <dd className="num">
        {t("triggers.counts", {
          fired: number(trigger.fired),
          skipped: number(trigger.skipped),
          refused: number(trigger.refused),
        })}
      </dd>
      <dt>{t("triggers.added")}</dt>
      <dd>
        <Clock ms={trigger.created_ms} />
        {trigger.declared_by != null && (
          <span className="muted"> {t("triggers.declared", { flow: trigger.declared_by })}</span>
        )}
      </dd>
      {settings !== null && (
        <>
          <dt>{t("triggers.settings")}</dt>
          <dd>
            <JsonView value={settings} />
          </dd>
        </>
      )}
    </dl>
  );
}

function addressOfHook(path: string): string {
  return new URL(path.replace(/^\//, ""), new URL(".", location.href)).href;
}

function Firings({ trigger }: { trigger: Trigger }): JSX.Element {
  const found = useQuery({
    queryKey: ["firings.json", trigger.id, trigger.fired],
    queryFn: ({ signal }) => ask<FiringPage>("firings.json", { trigger_id: trigger.id }, signal),
    placeholderData: (before) => before,
    refetchInterval: REFRESH_MS,
  });
  return (
    <Part title={t("triggers.firings")}>
      {found.isError && <ErrorNote error={found.error} />}
      {found.data !== undefined && found.data.rows.length === 0 && (
        <p className="muted">
          {t(found.data.is_whole ? "triggers.noFirings" : "triggers.noneOfNewest")}
        </p>
      )}
      {found.data !== undefined && found.data.rows.length > 0 && (
        <TableScroll label={t("triggers.firings")}>
          <table className="table">
            <thead>
              <tr>
                <th scope="col">{t("list.column.execution")}</th>
                <th scope="col">{t("ops.state.ready")}</th>
                <th scope="col">{t("triggers.scheduled")}</th>
                <th scope="col">{t("list.column.started")}</th>
                <th scope="col" className="num">
                  {t("list.column.took")}
                </th>
              </tr>
            </thead>
            <tbody>
              {found.data.rows.map((row) => (
                <FiringRow key={row.execution_id} row={row} />
              ))}
            </tbody>
          </table>
        </TableScroll>
      )}
    </Part>
  );
}

function FiringRow({ row }: { row: Firing }): JSX.Element {
  const summary = useSummary(row.execution_id);
  const status = row.finished_at_ms === null ? (summary?.status ?? row.status) : row.status;
  return (
    <tr>
      <th scope="row" className="mono">
        <a href={formatAddress(["execution", row.execution_id])} title={row.execution_id}>
          {shortId(row.execution_id)}
        </a>
      </th>
      <td>
        <StatusLabel status={status} />
      </td>
      <td>
        {row.scheduled_ms !== null ? (
          <Clock ms={row.scheduled_ms} />
        ) : (
          <span className="muted">
            {t(row.how === "by_hand" ? "triggers.byHand" : "triggers.byEvent")}
          </span>
        )}
      </td>
      <td>
        <Clock ms={row.submitted_at_ms} />
      </td>
      <td className="num">
        <Took fromMs={row.submitted_at_ms} toMs={row.finished_at_ms ?? summary?.ended_ms ?? null} />
      </td>
    </tr>
  );
}

function Refusals({ trigger }: { trigger: Trigger }): JSX.Element | null {
  if (trigger.refusals.length === 0) return null;
  return (
    <Part title={t("triggers.refusals")}>
      <ul className="refusals">
        {trigger.refusals.toReversed().map((each) => (
          <li key={`${each.key}${each.at_ms}`}>
            <span className="row">
              <StatusIcon status="failed" />
              <Clock ms={each.at_ms} />
              <code className="cut" title={each.key}>
                {each.key}
              </code>
            </span>
            <p dir="auto">{each.reason}</p>
          </li>
        ))}
      </ul>
    </Part>
  );
}

type Deed = "fire" | "pause" | "resume" | "backfill" | "remove";

/** The buttons of a trigger; those that its key may not use are not there. */
function Steering({ trigger }: { trigger: Trigger }): JSX.Element | null {
  const [deed, setDeed] = useState<Deed | null>(null);
  const mayOperate = useMay("operator");
  const mayWrite = useMay("author");
  const deeds: Deed[] = [];
  if (mayOperate) {
    deeds.push("fire", trigger.paused ? "resume" : "pause");
    if (trigger.type === "cron") deeds.push("backfill");
  }
  // What a definition declares is changed there.
  if (mayWrite && trigger.declared_by == null) deeds.push("remove");
  if (deeds.length === 0) return null;
  const close = () => setDeed(null);
  return (
    <div className="row wrap">
      {deeds.map((each) => (
        <button
          type="button"
          key={each}
          className={`button small ${each === "remove" ? "danger" : ""}`}
          onClick={() => setDeed(each)}
        >
          {t(`triggers.${each}`)}
        </button>
      ))}
      {deed === "backfill" && <Backfill trigger={trigger} onClose={close} />}
      {deed !== null && deed !== "backfill" && (
        <Confirm
          title={t(`triggers.${deed}.title`, { id: trigger.id })}
          text={t(`triggers.${deed}.text`, { flow: trigger.descriptor_id })}
          action={t(`triggers.${deed}`)}
          danger={deed === "remove"}
          onClose={close}
          onDo={() => done(trigger, deed)}
        />
      )}
    </div>
  );
}

async function done(trigger: Trigger, deed: Exclude<Deed, "backfill">): Promise<void> {
  const answer = await post<{ execution_id?: string }>(`flow/triggers/${deed}.json`, {
    trigger_id: trigger.id,
  });
  if (deed === "fire" && answer.execution_id !== undefined) {
    go(formatAddress(["execution", answer.execution_id]));
  }
  if (deed === "remove") go(formatAddress(["triggers"]));
}

/** Start the executions of past times; what was started before stays as it is. */
function Backfill({ trigger, onClose }: { trigger: Trigger; onClose: () => void }): JSX.Element {
  const now = useNow();
  const [from, setFrom] = useState(() => localOf(now - DAY_MS));
  const [to, setTo] = useState(() => localOf(now));
  const span = { from: utcOf(from), to: utcOf(to) };
  const run = () => post("flow/triggers/backfill.json", { trigger_id: trigger.id, ...span });
  return (
    <Confirm
      title={t("triggers.backfill.title", { id: trigger.id })}
      text={t("triggers.backfill.text", { cause: causeOf(trigger) })}
      action={t("triggers.backfill")}
      isReady={span.from !== null && span.to !== null && span.from <= span.to}
      onClose={onClose}
      onDo={run}
    >
      <div className="form">
        {(
          [
            ["triggers.from", from, setFrom],
            ["triggers.to", to, setTo],
          ] as const
        ).map(([label, value, change]) => (
          <label key={label}>
            <span>{t(label)}</span>
            <input
              className="field"
              type="datetime-local"
              required
              value={value}
              onChange={(event) => change(event.target.value)}
            />
          </label>
        ))}
      </div>
    </Confirm>
  );
}
