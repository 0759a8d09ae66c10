/** The search box with its completion. */

import { type JSX, type KeyboardEvent, useEffect, useId, useRef, useState } from "react";
import { useAnswer } from "../api/queries";
import type { Definition, Workspaces } from "../api/types";
import { Icon } from "../parts/icons";
import { t } from "../words";
import { completions, searchValue, wordAt, wordsOf } from "./search";

export function SearchBox({
  text,
  onSearch,
}: {
  text: string;
  onSearch: (text: string) => void;
}): JSX.Element {
  const [draft, setDraft] = useState(text);
  const [cursor, setCursor] = useState(0);
  const [isOpen, setOpen] = useState(false);
  const [chosen, setChosen] = useState(-1);
  const field = useRef<HTMLInputElement>(null);
  const list = useId();
  const flows = useFlows(isOpen);
  useEffect(() => setDraft(text), [text]);

  const at = wordAt(draft, cursor);
  const searchKeys = useSearchKeys(isOpen ? searchValue(draft, "flow") : null);
  const offered = isOpen ? completions(at.word, flows, searchKeys) : [];
  const search = (value: string) => {
    setOpen(false);
    setChosen(-1);
    onSearch(wordsOf(value).join(" "));
  };
  const take = (word: string) => {
    const isWhole = !word.endsWith(":");
    const next = `${draft.slice(0, at.from)}${word}${draft.slice(at.to)}`;
    setDraft(next);
    setChosen(-1);
    if (isWhole) search(next);
    else place(at.from + word.length);
  };
  const place = (to: number) => {
    setCursor(to);
    requestAnimationFrame(() => field.current?.setSelectionRange(to, to));
  };
  const step = (event: KeyboardEvent, by: number) => {
    if (offered.length === 0) return;
    event.preventDefault();
    setChosen((Math.max(chosen, by < 0 ? 0 : -1) + by + offered.length) % offered.length);
  };
  const enter = (word = offered[chosen]) => (word === undefined ? search(draft) : take(word));
  const leave = () => {
    if (isOpen) setOpen(false);
    else field.current?.blur();
  };
  const pressed = (event: KeyboardEvent) => {
    if (event.key === "ArrowDown") step(event, 1);
    if (event.key === "ArrowUp") step(event, -1);
    if (event.key === "Enter") enter();
    if (event.key === "Escape") leave();
  };
  return (
    <div className="search">
      <Icon name="search" />
      <input
        ref={field}
        data-search
        className="field mono"
        type="text"
        role="combobox"
        autoComplete="off"
        spellCheck={false}
        aria-label={t("list.search")}
        aria-expanded={offered.length > 0}
        aria-controls={list}
        aria-activedescendant={chosen >= 0 ? `${list}-${chosen}` : undefined}
        aria-autocomplete="list"
        placeholder={t("list.searchHint")}
        value={draft}
        onChange={(event) => {
          setDraft(event.target.value);
          setCursor(event.target.selectionStart ?? event.target.value.length);
          setOpen(true);
          setChosen(-1);
        }}
        onKeyDown={pressed}
        onFocus={() => {
          setCursor(draft.length);
          setOpen(true);
        }}
        onBlur={() => setOpen(false)}
      />
      {draft !== "" && (
        <button
          type="button"
          className="button quiet icon small clear"
          aria-label={t("list.clear")}
          onClick={() => search("")}
        >
          <Icon name="close" />
        </button>
      )}
      <div
        id={list}
        role="listbox"
        aria-label={t("list.search")}
        className="offered"
        hidden={offered.length === 0}
      >
        {offered.map((word, index) => (
          // biome-ignore lint/a11y/useKeyWithClickEvents: the keys are those of the field
          <div
            key={word}
            id={`${list}-${index}`}
            role="option"
            aria-selected={index === chosen}
            className="mono"
            onMouseDown={(event) => event.preventDefault()}
            onClick={() => take(word)}
          >
            {word}
          </div>
        ))}
      </div>
    </div>
  );
}

export function useFlows(isWanted: boolean): string[] {
  const found = useAnswer<Workspaces>("workspaces.json", { limit: 200 }, { enabled: isWanted });
  return (found.data?.workspaces ?? []).flatMap(({ business, features }) => [
    business,
    ...features.map(({ feature }) => `${business}:${feature}`),
  ]);
}

/** The search keys that the newest version of a workflow declares. */
function useSearchKeys(flow: string | null): readonly string[] {
  const found = useAnswer<Definition>(
    "definition.json",
    { descriptor_id: flow },
    { enabled: flow !== null && /^\w+:\w+$/.test(flow), keep: false },
  );
  return found.data?.search_keys ?? [];
}
