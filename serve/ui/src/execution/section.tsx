/** A part of the inspector that can be closed, and whose content can be copied. */

import type { JSX, ReactNode } from "react";
import { CopyButton } from "../parts/controls";

export function Section({
  title,
  children,
  copy,
  isClosed = false,
}: {
  title: string;
  children: ReactNode;
  copy?: unknown;
  isClosed?: boolean;
}): JSX.Element {
  return (
    <div className="section">
      <details open={!isClosed}>
        <summary>{title}</summary>
        {children}
      </details>
      {copy !== undefined && copy !== null && (
        <CopyButton text={JSON.stringify(copy, null, 2)} className="on-section" />
      )}
    </div>
  );
}
