/** Choosing, saving and forgetting a named search. */

import { type JSX, useState } from "react";
import { Confirm } from "../parts/controls";
import { t } from "../words";
import { loadViews, storeViews, type View, withView } from "./views";

const SAVE = "\u0000save";
const FORGET = "\u0000forget";

export function SavedViews({
  text,
  onSearch,
}: {
  text: string;
  onSearch: (text: string) => void;
}): JSX.Element | null {
  const [views, setViews] = useState(loadViews);
  const [isSaving, setSaving] = useState(false);
  const chosen = views.find((view) => view.text === text);
  const keep = (next: View[]) => {
    setViews(next);
    storeViews(next);
  };
  const choose = (name: string) => {
    if (name === SAVE) setSaving(true);
    else if (name === FORGET) keep(views.filter((view) => view !== chosen));
    else onSearch(views.find((view) => view.name === name)?.text ?? "");
  };
  if (views.length === 0 && text === "") return null;
  return (
    <>
      <select
        className="field"
        aria-label={t("views.label")}
        value={chosen?.name ?? ""}
        onChange={(event) => choose(event.target.value)}
      >
        <option value="" disabled>
          {t("views.label")}
        </option>
        {views.map(({ name }) => (
          <option key={name} value={name}>
            {name}
          </option>
        ))}
        {chosen === undefined && text !== "" && <option value={SAVE}>{t("views.save")}</option>}
        {chosen !== undefined && <option value={FORGET}>{t("views.forget")}</option>}
      </select>
      {isSaving && (
        <SaveView
          text={text}
          onClose={() => setSaving(false)}
          onSave={(name) => keep(withView(views, name, text))}
        />
      )}
    </>
  );
}

function SaveView({
  text,
  onClose,
  onSave,
}: {
  text: string;
  onClose: () => void;
  onSave: (name: string) => void;
}): JSX.Element {
  const [name, setName] = useState("");
  return (
    <Confirm
      title={t("views.save")}
      text={t("views.text")}
      action={t("editor.save")}
      isReady={name.trim() !== ""}
      onClose={onClose}
      onDo={async () => onSave(name)}
    >
      <code dir="auto">{text}</code>
      <div className="form">
        <label>
          <span>{t("views.name")}</span>
          <input
            className="field"
            maxLength={80}
            value={name}
            onChange={(event) => setName(event.target.value)}
          />
        </label>
      </div>
    </Confirm>
  );
}
