/** Saving a text as a new version, after a look at what differs. */

import { type JSX, useState } from "react";
import { formatAddress, go } from "../address";
import { post } from "../api/client";
import type { Definition } from "../api/types";
import { shortVersion } from "../format";
import { Confirm, ErrorNote } from "../parts/controls";
import { t } from "../words";
import { Hunks } from "../workflows/diff_view";
import { useDraft } from "./queries";

export function SaveDialog({
  text,
  definition,
  alias: first,
  onClose,
  onSaved,
}: {
  text: string;
  definition: Definition | null;
  alias: string;
  onClose: () => void;
  onSaved: () => void;
}): JSX.Element {
  const [alias, setAlias] = useState(first);
  const version = definition?.definition_id ?? null;
  const draft = useDraft(text, definition?.descriptor_id ?? null);
  const flow = `${draft.data?.business ?? ""}:${draft.data?.feature ?? ""}`;
  const save = async () => {
    await post(
      "flow/bg/manage/descriptor/add_descriptor.json",
      {
        business_id: draft.data?.business ?? "",
        feature_name: draft.data?.feature ?? "",
        alias: alias.trim(),
      },
      text,
    );
    onSaved();
    // The guard that asks before leaving hears first that the text is saved.
    setTimeout(() => go(formatAddress(["workflows", flow])));
  };
  return (
    <Confirm
      title={t("editor.save.title", { flow })}
      text={t("editor.save.text", { alias: alias.trim() })}
      action={t("editor.save")}
      onClose={onClose}
      onDo={save}
    >
      <div className="form">
        <label>
          <span>{t("editor.alias")}</span>
          <input
            className="field mono"
            value={alias}
            onChange={(event) => setAlias(event.target.value)}
          />
        </label>
      </div>
      {text.includes("#") && <p className="muted small">{t("editor.save.comments")}</p>}
      {draft.isError && <ErrorNote error={draft.error} />}
      {draft.data?.diff && (
        <div className="stack">
          <h3>{t("editor.save.diff", { version: shortVersion(version) })}</h3>
          <Hunks diff={draft.data.diff} />
        </div>
      )}
    </Confirm>
  );
}
