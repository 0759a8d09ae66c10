/** Submitting a workflow: a form where its input has a schema, else JSON. */

import { type JSX, useState } from "react";
import { formatAddress, go } from "../address";
import { post } from "../api/client";
import type { Definition } from "../api/types";
import { jsonObject } from "../execution/json_object";
import { Confirm } from "../parts/controls";
import { t } from "../words";
import { type Field, fieldsOf, inputOf } from "./form";

export function SubmitDialog({
  definition,
  onClose,
}: {
  definition: Definition;
  onClose: () => void;
}): JSX.Element {
  const fields = fieldsOf(definition.input_schema);
  const [isForm, setForm] = useState(fields !== null);
  const [texts, setTexts] = useState<Readonly<Record<string, string>>>({});
  const [json, setJson] = useState("{}");
  const flow = definition.descriptor_id;
  const submit = async () => {
    const input = isForm && fields !== null ? inputOf(fields, texts) : jsonObject(json);
    if (input === null) throw new Error(t("steer.badJson"));
    const { execution_id: id } = await post<{ execution_id: string }>(
      "flow/submit.json",
      { descriptor_id: flow },
      input,
    );
    go(formatAddress(["execution", id]));
  };
  const turn = () => {
    if (isForm && fields !== null) setJson(written(fields, texts));
    setForm(!isForm);
  };
  return (
    <Confirm
      title={t("flows.submit.title", { flow })}
      text=""
      action={t("flows.submit")}
      onClose={onClose}
      onDo={submit}
    >
      {isForm && fields !== null ? (
        <div className="form">
          {fields.map((field) => (
            <FormField
              key={field.name}
              field={field}
              text={texts[field.name] ?? field.initial}
              onChangeText={(text) => setTexts({ ...texts, [field.name]: text })}
            />
          ))}
        </div>
      ) : (
        <textarea
          className="field"
          rows={12}
          spellCheck={false}
          aria-label={t("inspector.input")}
          value={json}
          onChange={(event) => setJson(event.target.value)}
        />
      )}
      {fields !== null && (
        <div>
          <button type="button" className="button quiet small" onClick={turn}>
            {t(isForm ? "flows.submit.asJson" : "flows.submit.asForm")}
          </button>
        </div>
      )}
    </Confirm>
  );
}

function written(fields: Field[], texts: Readonly<Record<string, string>>): string {
  try {
    return JSON.stringify(inputOf(fields, texts), null, 2);
  } catch {
    return "{}";
  }
}

function FormField({
  field,
  text,
  onChangeText,
}: {
  field: Field;
  text: string;
  onChangeText: (text: string) => void;
}): JSX.Element {
  const options = field.kind === "boolean" ? ["true", "false"] : field.choices;
  return (
    // biome-ignore lint/a11y/noLabelWithoutControl: each branch has one
    <label>
      <span>
        {field.name}{" "}
        {field.isRequired && <span className="muted">{t("flows.submit.required")}</span>}
      </span>
      {options.length > 0 ? (
        <select
          className="field"
          value={text}
          onChange={(event) => onChangeText(event.target.value)}
        >
          <option value="" />
          {options.map((each) => (
            <option key={each} value={each}>
              {each}
            </option>
          ))}
        </select>
      ) : field.kind === "json" ? (
        <textarea
          className="field"
          rows={3}
          value={text}
          onChange={(event) => onChangeText(event.target.value)}
        />
      ) : (
        <input
          className="field"
          inputMode={field.kind === "number" ? "decimal" : "text"}
          value={text}
          onChange={(event) => onChangeText(event.target.value)}
        />
      )}
      {field.text !== "" && <span className="muted small">{field.text}</span>}
    </label>
  );
}
