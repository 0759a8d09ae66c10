/** How many executions were submitted over time, by status. A span is chosen by dragging. */

import { type JSX, type PointerEvent, useRef, useState } from "react";
import type { Counts } from "../api/types";
import { clock } from "../format";
import { locale, t } from "../words";

const KINDS = ["succeeded", "unfinished", "failed"] as const;
const HEIGHT = 56;

export function Histogram({
  counts,
  onSpan,
}: {
  counts: Counts;
  onSpan: (fromMs: number, toMs: number) => void;
}): JSX.Element | null {
  const area = useRef<SVGSVGElement>(null);
  const [drag, setDrag] = useState<readonly [number, number] | null>(null);
  const { buckets, step_ms: step, from_ms: from, to_ms: to } = counts;
  if (buckets.length === 0 || step === null || from === null || to === null) return null;
  if (counts.total === 0) return <div className="histogram" />;
  const most = Math.max(
    1,
    ...buckets.map((each) => each.succeeded + each.unfinished + each.failed),
  );
  const width = buckets.length;
  const placeOf = (event: PointerEvent) => {
    const box = area.current?.getBoundingClientRect();
    if (box === undefined || box.width === 0) return 0;
    return Math.min(width, Math.max(0, ((event.clientX - box.left) / box.width) * width));
  };
  const finish = () => {
    if (drag !== null) {
      const [first, last] = [Math.floor(Math.min(...drag)), Math.ceil(Math.max(...drag))];
      if (Math.abs(drag[1] - drag[0]) > 0.3) onSpan(from + first * step, from + last * step);
    }
    setDrag(null);
  };
  const now = counts.at_ms;
  return (
    <figure className="histogram">
      <svg
        ref={area}
        viewBox={`0 0 ${width} ${HEIGHT}`}
        preserveAspectRatio="none"
        role="img"
        aria-label={t("list.histogram", {
          from: clock(from, now, locale()),
          to: clock(to, now, locale()),
        })}
        onPointerDown={(event) => {
          event.currentTarget.setPointerCapture(event.pointerId);
          setDrag([placeOf(event), placeOf(event)]);
        }}
        onPointerMove={(event) => drag !== null && setDrag([drag[0], placeOf(event)])}
        onPointerUp={finish}
        onPointerCancel={() => setDrag(null)}
      >
        {buckets.map((bucket, index) => (
          <Bar key={bucket.at_ms} bucket={bucket} index={index} most={most} />
        ))}
        {drag !== null && (
          <rect
            className="chosen-span"
            x={Math.min(...drag)}
            width={Math.abs(drag[1] - drag[0])}
            y="0"
            height={HEIGHT}
          />
        )}
      </svg>
      <figcaption className="num muted">
        <span>{clock(from, now, locale())}</span>
        <span>{clock(to, now, locale())}</span>
      </figcaption>
    </figure>
  );
}

function Bar({
  bucket,
  index,
  most,
}: {
  bucket: Counts["buckets"][number];
  index: number;
  most: number;
}): JSX.Element {
  let top = HEIGHT;
  return (
    <>
      {KINDS.filter((kind) => bucket[kind] > 0).map((kind) => {
        // The smallest number of failures is still seen.
        const height = Math.max(kind === "failed" ? 3 : 1, (bucket[kind] / most) * (HEIGHT - 6));
        top -= height;
        return (
          <rect
            key={kind}
            className={`bar s-${kind}`}
            x={index + 0.08}
            width={0.84}
            y={Math.max(0, top)}
            height={height}
          />
        );
      })}
    </>
  );
}
