/** A part of the inspector that can be closed, and whose content can be copied. */

import type { JSX, ReactNode } from "react";
import { CopyButton } from "../parts/controls";

export function Section({
  title,
  children,
  copy,
  isClosed = false,
  onOpen,
}: {
  title: string;
  children: ReactNode;
  copy?: unknown;
  isClosed?: boolean;
  /** Told once somebody opens it, for what is read only then. */
  onOpen?: () => void;
}): JSX.Element {
  return (
    <div className="section">
      <details open={!isClosed} onToggle={(event) => event.currentTarget.open && onOpen?.()}>
        <summary>{title}</summary>
        {children}
      </details>
      {copy !== undefined && copy !== null && (
        <CopyButton text={JSON.stringify(copy, null, 2)} className="on-section" />
      )}
    </div>
  );
}
