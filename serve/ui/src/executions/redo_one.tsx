/** Redoing one failed execution from its row, after a person has agreed. */

import type { JSX } from "react";
import { post } from "../api/client";
import { Confirm } from "../parts/controls";
import type { Done } from "../parts/done_note";
import { t } from "../words";
import { doneToAll } from "./done_to_all";

export function RedoOne({
  id,
  onClose,
  onDone,
}: {
  id: string;
  onClose: () => void;
  onDone: (done: Done) => void;
}): JSX.Element {
  return (
    <Confirm
      title={t("steer.redo.title")}
      text={t("bulk.redo.text")}
      action={t("steer.redo")}
      onClose={onClose}
      onDo={async () => {
        await post("flow/redo.json", { execution_id: id, scope: "failed" });
        onDone(doneToAll("redo", [id]));
      }}
    >
      <code className="mono">{id}</code>
    </Confirm>
  );
}
