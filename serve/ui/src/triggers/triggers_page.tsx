/** The triggers of all types: how each is, when it fires next, and what it has started last. */

import "../styles/triggers.css";
import { useInfiniteQuery } from "@tanstack/react-query";
import { type JSX, useState } from "react";
import { formatAddress, go } from "../address";
import { addressOf, send } from "../api/client";
import type { Trigger, TriggerPage } from "../api/types";
import { shortId } from "../format";
import { Code, ErrorNote } from "../parts/controls";
import { LoadMore } from "../parts/load_more";
import { StatusIcon } from "../parts/status";
import { TableScroll } from "../parts/table_scroll";
import { Clock, useNow } from "../parts/time";
import { number, t } from "../words";
import { causeOf, flowOf, matching, stateOf } from "./told";
import { TriggerView } from "./trigger_view";

const REFRESH_MS = 5000;
const LIMIT = 100;

export default function TriggersPage({ id }: { id: string | null }): JSX.Element {
  return id === null ? <TriggerList /> : <TriggerView id={id} />;
}

/** Ask for the triggers, page by page. */
function useTriggers() {
  return useInfiniteQuery({
    queryKey: ["triggers/list.json"],
    queryFn: ({ pageParam, signal }) =>
      send<TriggerPage>(
        "GET",
        addressOf("flow/triggers/list.json", { after: pageParam, limit: LIMIT }),
        undefined,
        signal,
      ),
    initialPageParam: "",
    getNextPageParam: (last) => last.next ?? null,
    refetchInterval: REFRESH_MS,
  });
}

function TriggerList(): JSX.Element {
  const [wanted, setWanted] = useState("");
  const found = useTriggers();
  if (found.data === undefined) {
    return found.isError ? (
      <ErrorNote error={found.error} onRetry={() => void found.refetch()} />
    ) : (
      <div aria-busy="true" />
    );
  }
  const all = found.data.pages.flatMap((page) => page.triggers);
  if (all.length === 0) return <Empty />;
  const shown = matching(all, wanted);
  return (
    <div className="stack">
      <h1 className="unseen">{t("triggers.title")}</h1>
      {found.isError && <ErrorNote error={found.error} />}
      <input
        className="field triggers-find"
        data-search
        type="search"
        aria-label={t("triggers.find")}
        placeholder={t("triggers.find")}
        value={wanted}
        onChange={(event) => setWanted(event.target.value)}
      />
      {shown.length === 0 ? (
        <p className="muted">{t("triggers.nothing")}</p>
      ) : (
        <TriggerTable triggers={shown} />
      )}
      {found.hasNextPage && (
        <LoadMore onLoad={() => void found.fetchNextPage()} isBusy={found.isFetchingNextPage} />
      )}
    </div>
  );
}

function TriggerTable({ triggers }: { triggers: readonly Trigger[] }): JSX.Element {
  return (
    <TableScroll label={t("triggers.title")}>
      <table className="table triggers">
        <thead>
          <tr>
            <th scope="col">{t("triggers.trigger")}</th>
            <th scope="col">{t("triggers.cause")}</th>
            <th scope="col">{t("list.column.workflow")}</th>
            <th scope="col">{t("triggers.state")}</th>
            <th scope="col">{t("triggers.last")}</th>
            <th scope="col" className="num">
              {t("triggers.fired")}
            </th>
          </tr>
        </thead>
        <tbody>
          {triggers.map((trigger) => (
            <TriggerRow key={trigger.id} trigger={trigger} />
          ))}
        </tbody>
      </table>
    </TableScroll>
  );
}

function TriggerRow({ trigger }: { trigger: Trigger }): JSX.Element {
  const now = useNow();
  const state = stateOf(trigger, now);
  return (
    <tr
      onClick={(event) => {
        if (!(event.target as HTMLElement).closest("a, button")) {
          go(formatAddress(["triggers", trigger.id]));
        }
      }}
    >
      <th scope="row">
        <a
          className="cut"
          href={formatAddress(["triggers", trigger.id])}
          title={trigger.id}
          dir="auto"
        >
          {trigger.id}
        </a>
      </th>
      <td>
        <span className="cause">
          <span className="tag">{trigger.type}</span>
          <span className="mono cut" title={causeOf(trigger)} dir="auto">
            {causeOf(trigger)}
          </span>
        </span>
      </td>
      <td>
        <a
          className="cut"
          href={formatAddress(["workflows", flowOf(trigger)])}
          title={trigger.descriptor_id}
        >
          {trigger.descriptor_id}
        </a>
      </td>
      <td>
        <span className={`state s-${state.status}`}>
          <StatusIcon status={state.status} label={false} />
          <span className="cut num" title={state.text} dir="auto">
            {state.text}
          </span>
        </span>
      </td>
      <td>
        <LastFiring trigger={trigger} />
      </td>
      <td className="num">{number(trigger.fired)}</td>
    </tr>
  );
}

function LastFiring({ trigger }: { trigger: Trigger }): JSX.Element {
  if (trigger.last_execution === "") return <span className="muted">–</span>;
  return (
    <span className="row">
      <Clock ms={trigger.last_ms} />
      <a
        className="mono"
        href={formatAddress(["execution", trigger.last_execution])}
        title={trigger.last_execution}
      >
        {shortId(trigger.last_execution)}
      </a>
    </span>
  );
}

function Empty(): JSX.Element {
  return (
    <div className="empty stack">
      <h1>{t("triggers.empty.title")}</h1>
      <p className="muted">{t("triggers.empty.text")}</p>
      <Code
        label={t("triggers.empty.add")}
        text={`rillflow triggers add examples:quickstart "0 2 * * *" --id nightly \\\n  --time-zone Europe/Berlin --data '{"name": "Bob"}'`}
      />
      <p className="muted">{t("triggers.empty.types")}</p>
    </div>
  );
}
