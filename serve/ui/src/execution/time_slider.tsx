/** The position in the journal: the page shows the state as it was after that event. */

import { type JSX, useEffect, useState } from "react";
import { goParams } from "../address";
import { useAnswer } from "../api/queries";
import type { JournalEvent } from "../api/types";
import { IconButton } from "../parts/controls";
import type { IconName } from "../parts/icons";
import { Prose } from "../parts/prose";
import { Clock } from "../parts/time";
import { number, t } from "../words";
import { eventSentence } from "./event_words";

const PLAY_MS = 600;

export function TimeSlider({
  id,
  event,
  lastSeq,
}: {
  id: string;
  event: number | null;
  lastSeq: number;
}): JSX.Element | null {
  const [isPlaying, setPlaying] = useState(false);
  const at = Math.min(event ?? lastSeq, lastSeq);
  const goTo = (seq: number | null) =>
    goParams({ event: seq === null ? null : String(seq) }, { replace: true });
  useEffect(() => {
    if (!isPlaying) return;
    if (event === null || event >= lastSeq) {
      setPlaying(false);
      return;
    }
    const timer = setTimeout(
      () => goParams({ event: String(event + 1) }, { replace: true }),
      PLAY_MS,
    );
    return () => clearTimeout(timer);
  }, [isPlaying, event, lastSeq]);
  if (lastSeq === 0) return null;
  const steps: readonly (readonly [IconName, Parameters<typeof t>[0], number, boolean])[] = [
    ["first", "time.first", 1, at <= 1],
    ["back", "time.back", at - 1, at <= 1],
    ["forward", "time.forward", at + 1, at >= lastSeq],
    ["last", "time.last", lastSeq, at >= lastSeq],
  ];
  const step = ([icon, label, to, isOff]: (typeof steps)[number]) => (
    <IconButton key={icon} icon={icon} label={t(label)} isOff={isOff} onClick={() => goTo(to)} />
  );
  return (
    <div className={`time ${event === null ? "" : "past"}`}>
      <div className="time-controls">
        {steps.slice(0, 2).map(step)}
        <IconButton
          icon={isPlaying ? "stop" : "play"}
          label={t(isPlaying ? "time.stop" : "time.play")}
          onClick={() => {
            if (!isPlaying && (event === null || event >= lastSeq)) goTo(1);
            setPlaying(!isPlaying);
          }}
        />
        {steps.slice(2).map(step)}
      </div>
      <input
        type="range"
        min={1}
        max={lastSeq}
        value={at}
        aria-label={t("time.label")}
        aria-valuetext={t("time.event", { seq: at, last: lastSeq })}
        onChange={(change) => goTo(Number(change.target.value))}
      />
      <div className="time-said">
        <span className="num">{t("time.event", { seq: number(at), last: number(lastSeq) })}</span>
        {event !== null && <EventAt id={id} seq={at} />}
      </div>
      <button
        type="button"
        className="button small"
        disabled={event === null}
        onClick={() => goTo(null)}
      >
        {t("time.live")}
      </button>
    </div>
  );
}

function EventAt({ id, seq }: { id: string; seq: number }): JSX.Element | null {
  const { data: event } = useAnswer<JournalEvent>("event.json", { execution_id: id, seq });
  if (event === undefined) return null;
  return (
    <span className="cut muted">
      <Clock ms={event.at_ms} isClock /> <Prose text={eventSentence(event)} />
    </span>
  );
}
