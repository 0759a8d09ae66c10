/** The journal of an execution: each event with what it changed. */

import { useInfiniteQuery } from "@tanstack/react-query";
import { type JSX, useState } from "react";
import { goParams } from "../address";
import { ask } from "../api/client";
import { useAnswer } from "../api/queries";
import type { EventPage, JournalEvent, Status } from "../api/types";
import { ErrorNote } from "../parts/controls";
import { Icon } from "../parts/icons";
import { JsonView } from "../parts/json_view";
import { LoadMore } from "../parts/load_more";
import { Prose } from "../parts/prose";
import { StatusIcon, statusWord } from "../parts/status";
import { Clock } from "../parts/time";
import { t } from "../words";
import { ChangeList } from "./change_list";
import { eventSentence, kindWord } from "./event_words";

const LIMIT = 200;
const KINDS = [
  "submitted",
  "dispatch_answered",
  "callback_received",
  "progress_reported",
  "wake_up_received",
  "timer_fired",
  "redo_requested",
  "degrade_requested",
  "completion_requested",
  "cancel_requested",
  "pause_requested",
  "resume_requested",
  "notice_delivered",
];

export function EventsView({
  id,
  event,
  task,
}: {
  id: string;
  event: number | null;
  task: string | null;
}): JSX.Element {
  const [kind, setKind] = useState("");
  const [isNewest, setNewest] = useState(false);
  const [opened, setOpened] = useState<number | null>(event);
  const params = { execution_id: id, order: isNewest ? "desc" : "asc", kind, task, limit: LIMIT };
  const found = useInfiniteQuery({
    queryKey: ["events.json", params],
    queryFn: ({ pageParam, signal }) =>
      ask<EventPage>("events.json", { ...params, cursor: pageParam }, signal),
    initialPageParam: null as string | null,
    getNextPageParam: (last) => last.next,
  });
  const events = found.data?.pages.flatMap((page) => page.events) ?? [];
  return (
    <div className="events">
      <div className="row wrap">
        <select
          className="field"
          aria-label={t("events.filter")}
          value={kind}
          onChange={(change) => setKind(change.target.value)}
        >
          <option value="">{t("events.all")}</option>
          {KINDS.map((each) => (
            <option key={each} value={each}>
              {kindWord(each)}
            </option>
          ))}
        </select>
        <button
          type="button"
          className="button"
          aria-pressed={isNewest}
          onClick={() => setNewest(!isNewest)}
        >
          {t("events.newest")}
        </button>
        {task !== null && (
          <button
            type="button"
            className="button"
            aria-pressed
            onClick={() => goParams({ task: null })}
          >
            <span className="mono">{task}</span>
            <Icon name="close" />
          </button>
        )}
      </div>
      {found.isError && <ErrorNote error={found.error} onRetry={() => void found.refetch()} />}
      <ol className="event-list">
        {events.map((each) => (
          <Event
            key={each.seq}
            id={id}
            event={each}
            isOpen={opened === each.seq}
            isShown={event === each.seq}
            onOpen={() => setOpened(opened === each.seq ? null : each.seq)}
          />
        ))}
      </ol>
      {found.isSuccess && events.length === 0 && <p className="muted">{t("events.none")}</p>}
      {found.hasNextPage && (
        <LoadMore onLoad={() => void found.fetchNextPage()} isBusy={found.isFetching} />
      )}
    </div>
  );
}

function Event({
  id,
  event,
  isOpen,
  isShown,
  onOpen,
}: {
  id: string;
  event: JournalEvent;
  isOpen: boolean;
  isShown: boolean;
  onOpen: () => void;
}): JSX.Element {
  return (
    <li className={isShown ? "shown" : ""}>
      <button type="button" className="event-head" aria-expanded={isOpen} onClick={onOpen}>
        <span className="muted num seq">{event.seq}</span>
        <Clock ms={event.at_ms} isPrecise isStop={false} />
        <span className="said" dir="auto">
          <Prose text={eventSentence(event)} />
        </span>
        <span className="effects">
          <Effect event={event} />
        </span>
      </button>
      {isOpen && <Opened id={id} seq={event.seq} />}
    </li>
  );
}

const MOST_EFFECTS = 3;

function Effect({ event }: { event: JournalEvent }): JSX.Element | null {
  const effect = event.effect;
  if (effect === null) return null;
  const ended = endOf(effect.status);
  const rest = Math.max(0, effect.changed.length - MOST_EFFECTS) + effect.more;
  return (
    <>
      {effect.changed.slice(0, MOST_EFFECTS).map((change) => (
        <span
          key={change.task}
          className="effect"
          title={`${change.task}: ${statusWord(change.to)}`}
        >
          <StatusIcon status={change.to} />
          <span className="cut mono" dir="auto">
            {change.task}
          </span>
        </span>
      ))}
      {rest > 0 && <span className="muted">{t("one.more", { n: rest })}</span>}
      {ended !== null && <strong className={`s-${ended}`}>{statusWord(ended)}</strong>}
    </>
  );
}

/** The end that an event brought to the execution, whose status is Rill Flow's word here. */
export function endOf(status: string | null): Status | null {
  const word = (status ?? "").toLowerCase();
  return word.startsWith("succe") ? "succeeded" : word === "failed" ? "failed" : null;
}

function Opened({ id, seq }: { id: string; seq: number }): JSX.Element {
  const found = useAnswer<JournalEvent>("event.json", { execution_id: id, seq }, { keep: false });
  return (
    <div className="event-body stack">
      <div className="row">
        <button
          type="button"
          className="button small"
          onClick={() => goParams({ event: String(seq), tab: null })}
        >
          {t("events.show")}
        </button>
      </div>
      <h3>{t("events.changes")}</h3>
      <ChangeList id={id} seq={seq} />
      <h3>{t("events.data")}</h3>
      {found.isError && <ErrorNote error={found.error} />}
      {found.data !== undefined && <JsonView value={found.data.data ?? found.data.facts} />}
    </div>
  );
}
