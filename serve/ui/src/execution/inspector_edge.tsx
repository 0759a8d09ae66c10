/** The edge of the inspector, by which a pointer or the arrow keys make it wider or narrower. */

import {
  type CSSProperties,
  type JSX,
  type KeyboardEvent,
  type PointerEvent,
  useState,
} from "react";
import { t } from "../words";

const STORED = "rillflow.inspector";
const USUAL_PX = 400;
const LEAST_PX = 280;
const STEP_PX = 32;
/** What is beside the inspector keeps this part of the page. */
const MOST_PART = 0.6;

/** The width of the inspector, which the browser keeps, as a style; and how it is changed. */
export function useInspectorWidth(): [number, CSSProperties, (px: number) => void] {
  const [width, setWidth] = useState(storedWidth);
  const change = (px: number) => {
    const next = Math.round(Math.min(mostPx(), Math.max(LEAST_PX, px)));
    setWidth(next);
    try {
      localStorage.setItem(STORED, String(next));
    } catch {
      // A browser that keeps nothing.
    }
  };
  return [width, { "--inspector": `${width}px` } as CSSProperties, change];
}

function storedWidth(): number {
  try {
    const stored = Number(localStorage.getItem(STORED));
    return stored >= LEAST_PX ? stored : USUAL_PX;
  } catch {
    return USUAL_PX;
  }
}

function mostPx(): number {
  return MOST_PART * window.innerWidth;
}

export function InspectorEdge({
  width,
  onWidth,
}: {
  width: number;
  onWidth: (px: number) => void;
}): JSX.Element {
  const move = (event: PointerEvent<HTMLElement>) => {
    const edge = event.currentTarget;
    const right = edge.nextElementSibling?.getBoundingClientRect().right;
    if (edge.hasPointerCapture(event.pointerId) && right !== undefined) {
      onWidth(right - event.clientX);
    }
  };
  const pressed = (event: KeyboardEvent) => {
    if (event.key === "ArrowLeft") onWidth(width + STEP_PX);
    if (event.key === "ArrowRight") onWidth(width - STEP_PX);
    if (event.key === "Home") onWidth(USUAL_PX);
  };
  return (
    <div
      role="separator"
      aria-orientation="vertical"
      aria-label={t("inspector.width")}
      aria-valuenow={width}
      aria-valuemin={LEAST_PX}
      aria-valuemax={Math.round(mostPx())}
      tabIndex={0}
      className="inspector-edge"
      onPointerDown={(event) => event.currentTarget.setPointerCapture(event.pointerId)}
      onPointerMove={move}
      onDoubleClick={() => onWidth(USUAL_PX)}
      onKeyDown={pressed}
    />
  );
}
