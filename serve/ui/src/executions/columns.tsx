/** The columns of the table of executions; its rows draw their cells themselves. */

import { createColumnHelper } from "@tanstack/react-table";
import type { Row } from "../api/types";
import { t } from "../words";

const column = createColumnHelper<Row>();

export const SELECT = "select";

export const COLUMNS = [
  column.display({ id: SELECT }),
  column.display({ id: "workflow", header: () => t("list.column.workflow") }),
  column.display({ id: "execution", header: () => t("list.column.execution") }),
  column.display({ id: "started", header: () => t("list.column.started") }),
  column.display({ id: "took", header: () => t("list.column.took") }),
  column.display({ id: "progress", header: () => t("list.column.progress") }),
  column.display({ id: "now", header: () => t("list.column.now") }),
];
