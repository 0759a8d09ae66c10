/** The table of executions: only the rows that are seen are in the page. */

import {
  flexRender,
  getCoreRowModel,
  type OnChangeFn,
  type RowSelectionState,
  useReactTable,
} from "@tanstack/react-table";
import { useWindowVirtualizer } from "@tanstack/react-virtual";
import { type JSX, useCallback, useLayoutEffect, useMemo, useRef, useState } from "react";
import { useMay } from "../access";
import type { Row } from "../api/types";
import { t } from "../words";
import { COLUMNS, SELECT } from "./columns";
import { ExecutionRow } from "./row";

/** The height of a row in pixels, which `executions.css` has too. */
const ROW_PX = 40;
const NARROW_ROW_PX = 68;
const NARROW = "(max-width: 700px)";

export function ExecutionTable({
  rows,
  selection,
  onSelection,
  onRedo,
  onEnd,
}: {
  rows: Row[];
  selection: RowSelectionState;
  onSelection: OnChangeFn<RowSelectionState>;
  onRedo: (id: string) => void;
  onEnd: () => void;
}): JSX.Element {
  const body = useRef<HTMLDivElement>(null);
  const [top, setTop] = useState(0);
  const height = window.matchMedia(NARROW).matches ? NARROW_ROW_PX : ROW_PX;
  const maySelect = useMay("operator");
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
  const items = virtual.getVirtualItems();
  const slots = useRef(0);
  slots.current = Math.max(slots.current, items.length);
  const first = items[0]?.index ?? 0;
  // The table makes an object of each of its rows, so it gets no more than are drawn.
  const seen = useMemo(() => rows.slice(first, first + items.length), [rows, first, items.length]);
  const table = useReactTable({
    data: seen,
    columns: COLUMNS,
    state: { rowSelection: selection, columnVisibility: { [SELECT]: maySelect } },
    onRowSelectionChange: onSelection,
    getRowId: (row) => row.execution_id,
    getCoreRowModel: getCoreRowModel(),
  });
  const select = useCallback(
    (id: string, isSelected: boolean) =>
      onSelection(({ [id]: _, ...others }) => (isSelected ? { ...others, [id]: true } : others)),
    [onSelection],
  );
  const isAll = Object.keys(selection).length === rows.length;
  return (
    <div
      className={maySelect ? "executions" : "executions plain"}
      role="table"
      aria-label={t("list.title")}
      aria-rowcount={rows.length + 1}
    >
      <div role="rowgroup">
        {table.getHeaderGroups().map((group) => (
          <div key={group.id} role="row" className="execution-row head" aria-rowindex={1}>
            {group.headers.map((header) => (
              <div key={header.id} role="columnheader" className={`c-${header.id}`}>
                {header.id === SELECT ? (
                  <input
                    type="checkbox"
                    aria-label={t("list.selectAll")}
                    checked={isAll}
                    onChange={() =>
                      onSelection(
                        isAll
                          ? {}
                          : Object.fromEntries(rows.map((row) => [row.execution_id, true])),
                      )
                    }
                  />
                ) : (
                  flexRender(header.column.columnDef.header, header.getContext())
                )}
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
        {table.getRowModel().rows.map((model, place) => (
          <ExecutionRow
            // A row that comes into sight takes the elements of one that has left it, which takes a
            // fraction of making new ones.
            // biome-ignore lint/suspicious/noArrayIndexKey: it is the place of the elements
            key={(first + place) % slots.current}
            row={model.original}
            index={first + place}
            start={(first + place) * height}
            isSelected={model.getIsSelected()}
            onSelect={maySelect ? select : null}
            onRedo={onRedo}
          />
        ))}
      </div>
    </div>
  );
}
