/** How wide an element is, also after it has changed. */

import { type RefObject, useEffect, useRef, useState } from "react";

export function useWidth<Shown extends HTMLElement>(): [RefObject<Shown | null>, number] {
  const shown = useRef<Shown>(null);
  const [width, setWidth] = useState(0);
  useEffect(() => {
    const element = shown.current;
    if (element === null) return;
    const observer = new ResizeObserver(() => setWidth(element.clientWidth));
    observer.observe(element);
    return () => observer.disconnect();
  }, []);
  return [shown, width];
}
