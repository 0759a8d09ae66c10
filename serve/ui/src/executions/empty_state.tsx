/** What a server without executions shows: how to submit the first one. */

import type { JSX } from "react";
import { addCommand, submitCommand } from "../parts/commands";
import { Code } from "../parts/controls";
import { t } from "../words";

export function EmptyState(): JSX.Element {
  return (
    <div className="empty stack">
      <h2>{t("list.empty.title")}</h2>
      <p className="muted">{t("list.empty.text")}</p>
      <h3>{t("list.empty.add")}</h3>
      <Code label={t("list.empty.add")} text={addCommand()} />
      <h3>{t("list.empty.submit")}</h3>
      <Code label={t("list.empty.submit")} text={submitCommand()} />
      <p className="muted">{t("list.empty.live")}</p>
    </div>
  );
}
