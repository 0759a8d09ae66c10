/** Pictures of 16 by 16 that stand beside words, or alone with a label. */

import type { JSX } from "react";

const PATHS = {
  copy: "M5.5 5.5V3a1 1 0 0 1 1-1H13a1 1 0 0 1 1 1v6.5a1 1 0 0 1-1 1h-2.5M3 5.5h6.5a1 1 0 0 1 1 1V13a1 1 0 0 1-1 1H3a1 1 0 0 1-1-1V6.5a1 1 0 0 1 1-1z",
  done: "M3 8.5l3.2 3.2L13 4.5",
  close: "M4 4l8 8M12 4l-8 8",
  search: "M7 11.5a4.5 4.5 0 1 0 0-9 4.5 4.5 0 0 0 0 9zM10.3 10.3L14 14",
  first: "M4 3.5v9M12 3.5L6.5 8l5.5 4.5z",
  back: "M11 3.5L5 8l6 4.5z",
  forward: "M5 3.5L11 8l-6 4.5z",
  last: "M12 3.5v9M4 3.5L9.5 8 4 12.5z",
  play: "M4.5 3l8 5-8 5z",
  stop: "M4.5 4h2v8h-2zM9.5 4h2v8h-2z",
  plus: "M8 3.5v9M3.5 8h9",
  minus: "M3.5 8h9",
  fit: "M2.5 6V2.5H6M10 2.5h3.5V6M13.5 10v3.5H10M6 13.5H2.5V10",
  down: "M4 6l4 4 4-4",
  right: "M6 4l4 4-4 4",
  keys: "M2 4.5h12v7H2zM4.5 7h.01M7 7h.01M9.5 7h.01M11.5 7h.01M5.5 9.5h5",
  save: "M8 2.5v7M5 6.8L8 9.8l3-3M3 12.5h10",
  world:
    "M8 14A6 6 0 1 0 8 2a6 6 0 0 0 0 12zM2.2 8h11.6M8 2c1.7 1.7 2.5 3.7 2.5 6S9.7 12.3 8 14M8 2C6.3 3.7 5.5 5.7 5.5 8s.8 4.3 2.5 6",
} as const;

export type IconName = keyof typeof PATHS;

export function Icon({ name }: { name: IconName }): JSX.Element {
  return (
    <svg width="16" height="16" viewBox="0 0 16 16" aria-hidden="true" className="icon-line">
      <path
        d={PATHS[name]}
        fill="none"
        stroke="currentColor"
        strokeWidth="1.5"
        strokeLinecap="round"
        strokeLinejoin="round"
      />
    </svg>
  );
}
