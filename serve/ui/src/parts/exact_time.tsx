/** The exact time of what the keyboard has come to: a time, or what can be pressed around one. */

import { type CSSProperties, type JSX, useEffect, useState } from "react";

const BELOW_PX = 4;

interface Shown {
  readonly text: string;
  readonly place: CSSProperties;
}

export function ExactTime(): JSX.Element | null {
  const [shown, setShown] = useState<Shown | null>(null);
  useEffect(() => {
    const show = (event: FocusEvent) => {
      const time = timeIn(event.target);
      setShown(time === null ? null : { text: time.title, place: placeBelow(time) });
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
    <div className="exact-time num" aria-hidden="true" style={shown.place}>
      {shown.text}
    </div>
  );
}

/** Return a place below a time, from where a text grows to the side on which there is more room. */
function placeBelow(time: HTMLElement): CSSProperties {
  const { left, right, bottom } = time.getBoundingClientRect();
  const width = document.documentElement.clientWidth;
  const side = left + right < width ? { left } : { right: width - right };
  return { top: bottom + BELOW_PX, ...side };
}

/** Return the time whose exact form is wanted by who goes to an element by the keyboard. */
function timeIn(target: EventTarget | null): HTMLTimeElement | null {
  if (!(target instanceof HTMLElement) || !target.matches(":focus-visible")) return null;
  if (target instanceof HTMLTimeElement) return target;
  const within = target.matches("a, button, summary") ? target.querySelector("time") : null;
  const inRow = target.closest(".execution-row")?.querySelector("time");
  return within ?? inRow ?? null;
}
