/** The table of executions: only the rows that are seen are in the page. */

import {
  flexRender,
  getCoreRowModel,
  type OnChangeFn,
  type RowSelectionState,
  useReactTable,
} from "@tanstack/react-table";
import { useWindowVirtualizer } from "@tanstack/react-virtual";
import { type JSX, useLayoutEffect, useRef, useState } from "react";
import { useMay } from "../access";
import { formatAddress, go } from "../address";
import type { Row } from "../api/types";
import { t } from "../words";
import { COLUMNS } from "./columns";

const ROW_PX = 40;
const NARROW_ROW_PX = 68;
const NARROW = "(max-width: 700px)";

export function ExecutionTable({
  rows,
  selection,
  onSelection,
  onEnd,
}: {
  rows: Row[];
  selection: RowSelectionState;
  onSelection: OnChangeFn<RowSelectionState>;
  onEnd: () => void;
}): JSX.Element {
  const body = useRef<HTMLDivElement>(null);
  const [top, setTop] = useState(0);
  const height = window.matchMedia(NARROW).matches ? NARROW_ROW_PX : ROW_PX;
  const table = useReactTable({
    data: rows,
    columns: COLUMNS,
    // Whoever may not steer has nothing to select rows for.
    state: { rowSelection: selection, columnVisibility: { select: useMay("operator") } },
    onRowSelectionChange: onSelection,
    getRowId: (row) => row.execution_id,
    getCoreRowModel: getCoreRowModel(),
  });
  // biome-ignore lint/correctness/useExhaustiveDependencies: what is above may have grown
  useLayoutEffect(() => setTop(body.current?.offsetTop ?? 0), [rows.length]);
  const virtual = useWindowVirtualizer({
    count: rows.length,
    estimateSize: () => height,
    overscan: 10,
    scrollMargin: top,
    onChange: ({ range }) => {
      if (range !== null && range.endIndex > rows.length - 20) onEnd();
    },
  });
  const models = table.getRowModel().rows;
  return (
    <div
      className="executions"
      role="table"
      aria-label={t("list.title")}
      aria-rowcount={rows.length + 1}
    >
      <div role="rowgroup">
        {table.getHeaderGroups().map((group) => (
          <div key={group.id} role="row" className="execution-row head" aria-rowindex={1}>
            {group.headers.map((header) => (
              <div key={header.id} role="columnheader" className={`c-${header.id}`}>
                {flexRender(header.column.columnDef.header, header.getContext())}
              </div>
            ))}
          </div>
        ))}
      </div>
      <div
        role="rowgroup"
        ref={body}
        style={{ height: virtual.getTotalSize(), position: "relative" }}
      >
        {virtual.getVirtualItems().map((item) => {
          const row = models[item.index];
          if (row === undefined) return null;
          return (
            // biome-ignore lint/a11y/useKeyWithClickEvents: the links of the row take the keys
            <div
              key={row.id}
              role="row"
              aria-rowindex={item.index + 2}
              aria-selected={row.getIsSelected()}
              className="execution-row"
              style={{ height, transform: `translateY(${item.start - top}px)` }}
              onClick={(event) => {
                if (!(event.target as HTMLElement).closest("a, button, input")) {
                  go(formatAddress(["execution", row.id]));
                }
              }}
            >
              {row.getVisibleCells().map((cell) => (
                <div key={cell.id} role="cell" className={`c-${cell.column.id}`}>
                  {flexRender(cell.column.columnDef.cell, cell.getContext())}
                </div>
              ))}
            </div>
          );
        })}
      </div>
    </div>
  );
}
