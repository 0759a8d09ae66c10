/** Small charts of numbers over time: bars of counts, and lines of lengths of time. */

import { type JSX, type PointerEvent, useState } from "react";
import { clock, duration } from "../format";
import { locale, number } from "../words";
import { type Point, stretchesOf } from "./lines";

const HEIGHT = 64;
const WIDTH = 600;

/** Which of some equal parts of a chart the pointer is over. */
function usePart(count: number) {
  const [at, setAt] = useState<number | null>(null);
  return {
    at: at === null ? null : Math.min(at, count - 1),
    handlers: {
      onPointerMove: (event: PointerEvent<SVGElement>) => {
        const box = event.currentTarget.getBoundingClientRect();
        const part = (event.clientX - box.left) / box.width;
        setAt(Math.min(count - 1, Math.max(0, Math.floor(part * count))));
      },
      onPointerLeave: () => setAt(null),
    },
  };
}

function timeOf(ms: number): string {
  return clock(ms, ms, locale()).slice(0, 5);
}

export function Chart({
  title,
  values,
  fromMs,
  stepMs,
  tone,
}: {
  title: string;
  values: readonly number[];
  fromMs: number;
  stepMs: number;
  tone: "s-running" | "s-failed";
}): JSX.Element {
  const { at, handlers } = usePart(values.length);
  const most = Math.max(1, ...values);
  const shown = at ?? values.length - 1;
  return (
    <figure className="chart">
      <figcaption>
        <span className="cut">{title}</span>
        <span className="num told">
          <span className="muted">{timeOf(fromMs + shown * stepMs)}</span>{" "}
          <strong>{number(values[shown] ?? 0)}</strong>
        </span>
      </figcaption>
      <svg
        className={tone}
        viewBox={`0 0 ${Math.max(1, values.length)} ${HEIGHT}`}
        preserveAspectRatio="none"
        role="img"
        aria-label={`${title}: ${values.slice(-10).map(number).join(", ")}`}
        {...handlers}
      >
        {values.map((value, index) => (
          <rect
            // biome-ignore lint/suspicious/noArrayIndexKey: a bar is told apart by its place
            key={index}
            className={index === shown ? "bar at" : "bar"}
            x={index + 0.06}
            width={0.88}
            y={HEIGHT - Math.max(value > 0 ? 2 : 0, (value / most) * HEIGHT)}
            height={Math.max(value > 0 ? 2 : 0, (value / most) * HEIGHT)}
          />
        ))}
      </svg>
      <Ends fromMs={fromMs} toMs={fromMs + values.length * stepMs} most={number(most)} />
    </figure>
  );
}

/** What is below a chart: its time from and to, and its largest value; empty for none. */
function Ends({ fromMs, toMs, most }: { fromMs: number; toMs: number; most: string }): JSX.Element {
  return (
    <div className="chart-ends num muted small" aria-hidden="true">
      <span>{timeOf(fromMs)}</span>
      <span>{most === "" ? "" : `≤ ${most}`}</span>
      <span>{timeOf(toMs)}</span>
    </div>
  );
}

/** Half of what was measured took at most the lower line, and 99 of 100 at most the upper one. */
export function LineChart({
  title,
  points,
  fromMs,
  toMs,
  stepMs,
  none,
}: {
  title: string;
  points: readonly Point[];
  fromMs: number;
  toMs: number;
  stepMs: number;
  /** Said where nothing was measured. */
  none: string;
}): JSX.Element {
  const count = Math.max(1, Math.round((toMs - fromMs) / stepMs));
  const { at, handlers } = usePart(count);
  const measured = points.filter((each) => each.p99 !== null);
  const shown =
    at === null
      ? measured.at(-1)
      : points.find((each) => Math.floor((each.atMs - fromMs) / stepMs) === at);
  const most = Math.max(1, ...measured.map((each) => each.p99 ?? 0));
  const x = (ms: number) => ((ms + stepMs / 2 - fromMs) / (toMs - fromMs)) * WIDTH;
  const y = (value: number) => HEIGHT - 1 - (value / most) * (HEIGHT - 4);
  const last = measured.at(-1);
  return (
    <figure className="chart">
      <figcaption>
        <span className="cut">{title}</span>
        <span className="num told">
          {measured.length === 0 ? (
            <span className="muted">{none}</span>
          ) : (
            <>
              <span className="muted">{shown === undefined ? "" : timeOf(shown.atMs)}</span>{" "}
              <span className="muted">p50</span> {told(shown?.p50)}{" "}
              <span className="muted">p99</span> <strong>{told(shown?.p99)}</strong>
            </>
          )}
        </span>
      </figcaption>
      <svg
        className="s-running"
        viewBox={`0 0 ${WIDTH} ${HEIGHT}`}
        preserveAspectRatio="none"
        role="img"
        aria-label={`${title}: ${last === undefined ? none : `p50 ${told(last.p50)}, p99 ${told(last.p99)}`}`}
        {...handlers}
      >
        {(["p99", "p50"] as const).map((name) =>
          stretchesOf(points, name, stepMs, x, y).map(({ path, isDot }) => (
            <path key={`${name}${path}`} className={isDot ? `${name} dot` : name} d={path} />
          )),
        )}
        {shown !== undefined && at !== null && (
          <path className="pointer" d={`M${x(shown.atMs)} 0V${HEIGHT}`} />
        )}
      </svg>
      <Ends fromMs={fromMs} toMs={toMs} most={measured.length === 0 ? "" : duration(most)} />
    </figure>
  );
}

function told(ms: number | null | undefined): string {
  return ms == null ? "–" : duration(ms);
}
