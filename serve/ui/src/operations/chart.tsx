/** A small chart of numbers over time. */

import { type JSX, useState } from "react";
import { clock } from "../format";
import { locale, number } from "../words";

const HEIGHT = 64;

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
  const [at, setAt] = useState<number | null>(null);
  const most = Math.max(1, ...values);
  const shown = at ?? values.length - 1;
  return (
    <figure className="chart">
      <figcaption>
        <span>{title}</span>
        <span className="num">
          <span className="muted">
            {clock(fromMs + shown * stepMs, fromMs, locale()).slice(0, 5)}
          </span>{" "}
          <strong>{number(values[shown] ?? 0)}</strong>
        </span>
      </figcaption>
      <svg
        className={tone}
        viewBox={`0 0 ${Math.max(1, values.length)} ${HEIGHT}`}
        preserveAspectRatio="none"
        role="img"
        aria-label={`${title}: ${values.slice(-10).map(number).join(", ")}`}
        onPointerMove={(event) => {
          const box = event.currentTarget.getBoundingClientRect();
          const part = (event.clientX - box.left) / box.width;
          setAt(Math.min(values.length - 1, Math.max(0, Math.floor(part * values.length))));
        }}
        onPointerLeave={() => setAt(null)}
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
    </figure>
  );
}
