/** Redoing one failed execution from its row, after a person has agreed. */

import type { JSX } from "react";
import { post } from "../api/client";
import { Confirm } from "../parts/controls";
import { t } from "../words";

export function RedoOne({ id, onClose }: { id: string; onClose: () => void }): JSX.Element {
  return (
    <Confirm
      title={t("steer.redo.title")}
      text={t("bulk.redo.text")}
      action={t("steer.redo")}
      onClose={onClose}
      onDo={() => post("flow/redo.json", { execution_id: id, scope: "failed" })}
    >
      <code className="mono">{id}</code>
    </Confirm>
  );
}
