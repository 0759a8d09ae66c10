/** The answer that a call of a dry run gets: a result, or an error. */

import { type JSX, useState } from "react";
import { t } from "../words";
import type { GivenAnswer } from "./queries";

export function AnswerForm({
  given,
  isWakeUp = false,
  onGive,
}: {
  given: GivenAnswer | null;
  isWakeUp?: boolean;
  onGive: (given: GivenAnswer | null) => void;
}): JSX.Element {
  const [isError, setError] = useState(given?.error !== undefined);
  const [text, setText] = useState(given?.error ?? JSON.stringify(given?.output ?? {}, null, 2));
  const output = isError ? null : parsed(text);
  const isBad = !isError && output === undefined;
  return (
    <div className="stack answer-form">
      {!isWakeUp && (
        <div className="row" role="group" aria-label={t("try.answer")}>
          {[false, true].map((each) => (
            <button
              key={String(each)}
              type="button"
              className="button small"
              aria-pressed={isError === each}
              onClick={() => {
                setError(each);
                setText(each ? "503" : "{}");
              }}
            >
              {t(each ? "try.error" : "inspector.output")}
            </button>
          ))}
        </div>
      )}
      <textarea
        className="field"
        rows={3}
        spellCheck={false}
        aria-label={t("try.answer")}
        aria-invalid={isBad}
        value={text}
        onChange={(event) => setText(event.target.value)}
      />
      {isBad && <p className="muted">{t("try.badJson")}</p>}
      <div className="row">
        <button
          type="button"
          className="button small"
          disabled={isBad}
          onClick={() => onGive(isError ? { error: text } : { output })}
        >
          {t("try.give")}
        </button>
        {given !== null && (
          <button type="button" className="button quiet small" onClick={() => onGive(null)}>
            {t("try.take")}
          </button>
        )}
      </div>
    </div>
  );
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
