/** The mark of a status: a shape of its own for each, so that colour is not needed. */

import type { JSX } from "react";
import type { Status } from "../api/types";
import { type Key, t } from "../words";

type Shape =
  | "succeeded"
  | "running"
  | "waiting"
  | "delayed"
  | "held"
  | "failed"
  | "skipped"
  | "not_started"
  | "cancelled";

const SHAPES: Readonly<Record<Shape, JSX.Element>> = {
  succeeded: (
    <>
      <circle cx="8" cy="8" r="7" fill="currentColor" />
      <path d="M4.8 8.2l2.2 2.2 4.2-4.6" className="mark-on" />
    </>
  ),
  running: (
    <>
      <circle cx="8" cy="8" r="5.8" className="mark-track" />
      <path d="M8 2.2a5.8 5.8 0 0 1 5.8 5.8" className="mark-arc" />
    </>
  ),
  waiting: (
    <path
      d="M3.5 1.5h9v1.8c0 2-1.7 3.3-3 4.7 1.3 1.4 3 2.7 3 4.7v1.8h-9v-1.8c0-2 1.7-3.3 3-4.7-1.3-1.4-3-2.7-3-4.7z"
      fill="currentColor"
    />
  ),
  delayed: (
    <>
      <circle cx="8" cy="8" r="7" fill="currentColor" />
      <path d="M8 4.2V8l2.6 1.7" className="mark-on" />
    </>
  ),
  held: (
    <>
      <rect x="1" y="1" width="14" height="14" rx="2.5" fill="currentColor" />
      <path d="M6 5v6M10 5v6" className="mark-on" />
    </>
  ),
  failed: (
    <>
      <path d="M5.1 1h5.8L15 5.1v5.8L10.9 15H5.1L1 10.9V5.1z" fill="currentColor" />
      <path d="M5.5 5.5l5 5M10.5 5.5l-5 5" className="mark-on" />
    </>
  ),
  skipped: <path d="M3 4l4 4-4 4M8 4l4 4-4 4" className="mark-line" />,
  not_started: <circle cx="8" cy="8" r="5.8" className="mark-ring" />,
  cancelled: <rect x="2" y="2" width="12" height="12" rx="1.5" fill="currentColor" />,
};

const OF_STATUS: Readonly<Record<Status, Shape>> = {
  succeeded: "succeeded",
  running: "running",
  waiting: "waiting",
  delayed: "delayed",
  held: "held",
  failed: "failed",
  skipped: "skipped",
  not_started: "not_started",
  cancelled: "cancelled",
  unfinished: "running",
};

export function statusWord(status: Status): string {
  // A later server may have statuses that this page does not know.
  return status in OF_STATUS ? t(`status.${status}` as Key) : status;
}

/** The mark alone; with `label`, screen readers say the word. */
export function StatusIcon({
  status,
  label = true,
}: {
  status: Status;
  label?: boolean;
}): JSX.Element {
  const shape = OF_STATUS[status] ?? "not_started";
  return (
    <svg
      className={`status-icon s-${status}`}
      viewBox="0 0 16 16"
      width="16"
      height="16"
      {...(label ? { role: "img", "aria-label": statusWord(status) } : { "aria-hidden": true })}
    >
      {SHAPES[shape]}
    </svg>
  );
}

/** The mark and the word. */
export function StatusLabel({ status }: { status: Status }): JSX.Element {
  return (
    <span className={`status-label s-${status}`}>
      <StatusIcon status={status} label={false} />
      {statusWord(status)}
    </span>
  );
}
