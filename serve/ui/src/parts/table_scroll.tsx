/** A table that is scrolled where it is wider than the screen, also by the keyboard. */

import type { JSX, ReactNode } from "react";

export function TableScroll({
  label,
  children,
}: {
  label: string;
  children: ReactNode;
}): JSX.Element {
  return (
    <div className="table-scroll" role="region" aria-label={label} tabIndex={0}>
      {children}
    </div>
  );
}
