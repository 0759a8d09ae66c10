/** The exact time of what the keyboard has come to: a time, or what can be pressed around one. */

import { type JSX, useEffect, useState } from "react";

const BELOW_PX = 4;

interface Shown {
  readonly text: string;
  readonly left: number;
  readonly top: number;
}

export function ExactTime(): JSX.Element | null {
  const [shown, setShown] = useState<Shown | null>(null);
  useEffect(() => {
    const show = (event: FocusEvent) => {
      const time = timeIn(event.target);
      const box = time?.getBoundingClientRect();
      setShown(
        time === null || box === undefined
          ? null
          : { text: time.title, left: box.left, top: box.bottom + BELOW_PX },
      );
    };
    const hide = () => setShown(null);
    const scrolled = { capture: true, passive: true };
    document.addEventListener("focusin", show);
    document.addEventListener("focusout", hide);
    document.addEventListener("scroll", hide, scrolled);
    return () => {
      document.removeEventListener("focusin", show);
      document.removeEventListener("focusout", hide);
      document.removeEventListener("scroll", hide, scrolled);
    };
  }, []);
  if (shown === null) return null;
  // A screen reader has it from the title of the time.
  return (
    <div className="exact-time num" aria-hidden="true" style={{ left: shown.left, top: shown.top }}>
      {shown.text}
    </div>
  );
}

/** Return the time whose exact form is wanted by who goes to an element by the keyboard. */
function timeIn(target: EventTarget | null): HTMLTimeElement | null {
  if (!(target instanceof HTMLElement) || !target.matches(":focus-visible")) return null;
  if (target instanceof HTMLTimeElement) return target;
  const within = target.matches("a, button, summary") ? target.querySelector("time") : null;
  const inRow = target.closest(".execution-row")?.querySelector("time");
  return within ?? inRow ?? null;
}
