/** Times that go on while the page is open. One clock ticks for all of them. */

import { type JSX, useSyncExternalStore } from "react";
import { clock, duration, elapsed, exactTime, nearness } from "../format";
import { locale, t, useLanguage } from "../words";

const TICK_MS = 1000;

let skewMs = 0;
let now = Date.now();
let today = dayOf(now);
const listeners = new Set<() => void>();
let timer = 0;

/** Take the time of the server, which need not be that of this machine. */
export function noteServerTime(serverMs: number): void {
  const skew = serverMs - Date.now();
  if (Math.abs(skew - skewMs) > 2000) skewMs = skew;
}

export function serverNow(): number {
  return Date.now() + skewMs;
}

function subscribe(listener: () => void): () => void {
  if (listeners.size === 0) {
    setNow();
    timer = window.setInterval(tick, TICK_MS);
  }
  listeners.add(listener);
  return () => {
    listeners.delete(listener);
    if (listeners.size === 0) window.clearInterval(timer);
  };
}

function dayOf(ms: number): number {
  return new Date(ms).setHours(0, 0, 0, 0);
}

function setNow(): void {
  now = serverNow();
  today = dayOf(now);
}

function tick(): void {
  setNow();
  for (const each of listeners) each();
}

/** The time of the server, once a second. */
export function useNow(): number {
  return useSyncExternalStore(subscribe, () => now);
}

/** How far a time within the hour is away, else its clock time. */
function told(ms: number): string {
  const near = nearness(ms, now);
  if (near === null) return clock(ms, today, locale());
  return near[0] === "now" ? t("time.now") : t(`time.${near[0]}`, { time: near[1] });
}

/**
 * A point in time: within the hour how far it is away, else its clock time. The exact time with
 * its zone is shown to who points at it, and to who goes to it by the keyboard.
 */
export function Clock({
  ms,
  isPrecise = false,
  isClock = isPrecise,
  isStop = true,
}: {
  ms: number;
  /** Whether milliseconds are shown too. */
  isPrecise?: boolean;
  /** Whether it is the clock time that is asked for. */
  isClock?: boolean;
  /** Whether the keyboard stops here; what can be pressed around it is such a stop itself. */
  isStop?: boolean;
}): JSX.Element {
  useLanguage();
  // Drawn anew when the text changes, and not each second.
  const shown = useSyncExternalStore(subscribe, () =>
    isClock ? clock(ms, today, locale()) : told(ms),
  );
  return (
    <time
      className="num"
      dateTime={new Date(ms).toISOString()}
      title={exactTime(ms, locale())}
      tabIndex={isStop ? 0 : undefined}
    >
      {shown}
      {isPrecise && <span className="muted">.{String(ms % 1000).padStart(3, "0")}</span>}
    </time>
  );
}

/** A length of time that has ended, or grows. */
export function Took({
  fromMs,
  toMs,
  idleMs = 0,
}: {
  fromMs: number | null;
  toMs: number | null;
  /** What is not counted of it. */
  idleMs?: number;
}): JSX.Element | null {
  if (fromMs === null) return null;
  if (toMs !== null) return <span className="num">{duration(toMs - fromMs - idleMs)}</span>;
  return <Growing fromMs={fromMs + idleMs} />;
}

function Growing({ fromMs }: { fromMs: number }): JSX.Element {
  const at = useNow();
  return <span className="num">{elapsed(at - fromMs)}</span>;
}
