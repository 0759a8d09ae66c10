/** Times, lengths of time, sizes and ids as a person reads them. */

const SECOND = 1000;
const TEN_SECONDS = 10 * SECOND;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;
const HOUR_IN_PARTS: readonly (readonly [number, string])[] = [
  [DAY, "d"],
  [HOUR, "h"],
  [MINUTE, "min"],
  [SECOND, "s"],
];

/** A length of time with two significant parts: `6 min 12 s`, `3.1 s`, `80 ms`. */
export function duration(ms: number): string {
  if (ms < 0) return "0 s";
  if (ms === 0) return "0 s";
  if (ms < SECOND) return `${Math.round(ms)} ms`;
  if (ms < 10 * SECOND) return `${(Math.floor(ms / 100) / 10).toFixed(1)} s`;
  for (const [index, [size, unit]] of HOUR_IN_PARTS.entries()) {
    if (ms < size) continue;
    const whole = Math.floor(ms / size);
    const next = HOUR_IN_PARTS[index + 1];
    const rest = next === undefined ? 0 : Math.floor((ms - whole * size) / next[0]);
    return next === undefined || rest === 0
      ? `${whole} ${unit}`
      : `${whole} ${unit} ${rest} ${next[1]}`;
  }
  return `${Math.round(ms / SECOND)} s`;
}

/** A length of time that grows, in whole seconds, as all times that go on are told. */
export function elapsed(ms: number): string {
  return wholeSeconds(Math.floor(ms / SECOND));
}

/** A length of time that is left, in whole seconds: no less than it is. */
export function remaining(ms: number): string {
  return wholeSeconds(Math.ceil(ms / SECOND));
}

function wholeSeconds(seconds: number): string {
  return duration(Math.max(0, seconds) * SECOND).replace(".0", "");
}

/** A clock time: of today without the date, of another day with it. */
export function clock(ms: number, nowMs: number, locale: string): string {
  const time = new Date(ms);
  const shown = formats(locale).time.format(time);
  if (time.toDateString() === new Date(nowMs).toDateString()) return shown;
  return `${formats(locale).date.format(time)} ${shown.slice(0, 5)}`;
}

/** A day without its year. */
export function day(ms: number, locale: string): string {
  return formats(locale).date.format(ms);
}

export type Near = readonly ["now" | "ago" | "in", string];

/** How far a time within the hour is away, in one part: `4 min` ago; null for any other time. */
export function nearness(ms: number, nowMs: number): Near | null {
  const ago = nowMs - ms;
  if (Math.abs(ago) >= HOUR) return null;
  // The clocks of two machines, and the time that an answer takes, differ by no more than that.
  if (ago > -2 * SECOND && ago < TEN_SECONDS) return ["now", ""];
  const unit = Math.abs(ago) < MINUTE ? SECOND : MINUTE;
  // What is to come is no nearer than it is told to be.
  const far = ago > 0 ? Math.floor(ago / unit) * unit : Math.ceil(-ago / unit) * unit;
  return [ago > 0 ? "ago" : "in", wholeSeconds(far / SECOND)];
}

/** The exact time with its zone. */
export function exactTime(ms: number, locale: string): string {
  return formats(locale).exact.format(ms);
}

interface Formats {
  readonly time: Intl.DateTimeFormat;
  readonly date: Intl.DateTimeFormat;
  readonly exact: Intl.DateTimeFormat;
}

const made = new Map<string, Formats>();

/** The formats of a language; making one takes longer than drawing a row of a table. */
function formats(locale: string): Formats {
  const known = made.get(locale);
  if (known !== undefined) return known;
  const time = { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" } as const;
  const found: Formats = {
    time: new Intl.DateTimeFormat(locale, time),
    date: new Intl.DateTimeFormat(locale, { month: "short", day: "numeric" }),
    exact: new Intl.DateTimeFormat(locale, {
      year: "numeric",
      month: "2-digit",
      day: "2-digit",
      ...time,
      fractionalSecondDigits: 3,
      timeZoneName: "short",
    }),
  };
  made.set(locale, found);
  return found;
}

/** A size in bytes, in KB, MB and GB of 1,000. */
export function size(bytes: number): string {
  if (bytes < 1000) return `${bytes} B`;
  if (bytes < 1_000_000) return `${significant(bytes / 1000)} KB`;
  if (bytes < 1_000_000_000) return `${significant(bytes / 1_000_000)} MB`;
  return `${significant(bytes / 1_000_000_000)} GB`;
}

function significant(value: number): string {
  return value < 10 ? value.toFixed(1) : String(Math.round(value));
}

/** The end of an execution id, by which people tell executions apart. */
export function shortId(executionId: string): string {
  const uuid = executionId.slice(executionId.lastIndexOf("_") + 1);
  // A UUID of version 1 differs at its start; its end is that of the machine.
  return uuid.slice(0, 8);
}

/** The start of the MD5 that names a version. */
export function shortVersion(definitionId: string | null): string {
  return definitionId === null ? "" : definitionId.replace(/^.*md5_/, "").slice(0, 7);
}

/** A text that is shown in one line, cut in the middle where it is longer. */
export function cut(text: string, most: number): string {
  if (text.length <= most) return text;
  const half = Math.floor((most - 1) / 2);
  return `${text.slice(0, most - 1 - half)}…${text.slice(text.length - half)}`;
}
