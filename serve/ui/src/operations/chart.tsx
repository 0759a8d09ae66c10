/** Small charts of numbers over time: bars of counts, and lines of lengths of time. */

import { type JSX, type ReactNode, useMemo, useState } from "react";
import { duration } from "../format";
import { number, t } from "../words";
import { momentLabel } from "./axes";
import { type Point, withGaps } from "./lines";
import { type Drawn, Plot } from "./plot";

/** How many of the last numbers a screen reader is told. */
const READ_ALOUD = 10;

/** The frame of a chart: its title, what is shown at a moment, and the drawing. */
function Framed({
  title,
  told,
  none,
  children,
}: {
  title: string;
  told: ReactNode;
  /** Said in place of what there is nothing of; empty where there is something. */
  none: string;
  children: ReactNode;
}): JSX.Element {
  return (
    <figure className="chart">
      <figcaption>
        <span className="cut" title={title}>
          {title}
        </span>
        <span className="num told">{told}</span>
      </figcaption>
      {children}
      {none !== "" && (
        <p className="none muted" aria-hidden="true">
          {none}
        </p>
      )}
    </figure>
  );
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
  tone: "running" | "failed";
}): JSX.Element {
  const [at, setAt] = useState<number | null>(null);
  const drawn = useMemo<Drawn>(
    () => ({
      kind: "bars",
      // A bar stands in the middle of its time; none has no bar, not even the thinnest one.
      data: [
        values.map((_, index) => fromMs + (index + 0.5) * stepMs),
        values.map((value) => value || null),
      ],
      fromMs,
      toMs: fromMs + values.length * stepMs,
    }),
    [values, fromMs, stepMs],
  );
  const shown = Math.min(at ?? values.length - 1, values.length - 1);
  const last = values.slice(-READ_ALOUD).map(number).join(", ");
  return (
    <Framed
      title={title}
      none={values.every((value) => value === 0) ? t("ops.nothingMeasured") : ""}
      told={
        <>
          <span className="muted">{momentLabel(fromMs + shown * stepMs)}</span>{" "}
          <strong>{number(values[shown] ?? 0)}</strong>
        </>
      }
    >
      <Plot label={`${title}: ${last}`} tone={tone} drawn={drawn} onPoint={setAt} />
    </Framed>
  );
}

/** Half of what was measured took at most the lower line, and 99 of 100 at most the upper one. */
export function LineChart({
  title,
  points,
  fromMs,
  toMs,
  stepMs,
}: {
  title: string;
  points: readonly Point[];
  fromMs: number;
  toMs: number;
  stepMs: number;
}): JSX.Element {
  const [at, setAt] = useState<number | null>(null);
  const all = useMemo(() => withGaps(points, stepMs), [points, stepMs]);
  const drawn = useMemo<Drawn>(
    () => ({
      kind: "lines",
      data: [
        all.map(({ atMs }) => atMs + stepMs / 2),
        all.map(({ p50 }) => p50),
        all.map(({ p99 }) => p99),
      ],
      fromMs,
      toMs,
    }),
    [all, fromMs, toMs, stepMs],
  );
  const last = points.findLast(({ p99 }) => p99 !== null);
  const shown = at === null ? last : all[at];
  const none = last === undefined ? t("ops.nothingMeasured") : "";
  return (
    <Framed
      title={title}
      none={none}
      told={
        shown !== undefined &&
        none === "" && (
          <>
            <span className="muted">{momentLabel(shown.atMs)}</span>{" "}
            <span className="key p50">p50</span> {told(shown.p50)}{" "}
            <span className="key p99">p99</span> <strong>{told(shown.p99)}</strong>
          </>
        )
      }
    >
      <Plot
        label={`${title}: ${none || `p50 ${told(last?.p50)}, p99 ${told(last?.p99)}`}`}
        tone="running"
        drawn={drawn}
        onPoint={setAt}
      />
    </Framed>
  );
}

function told(ms: number | null | undefined): string {
  return ms == null ? "–" : duration(ms);
}
