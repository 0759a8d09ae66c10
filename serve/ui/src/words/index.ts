/** The words of the console in the reader's language. */

import { useSyncExternalStore } from "react";
import { en, type Key } from "./en";
import { zh } from "./zh";

export type { Key };
export type Language = "en" | "zh";
export const LANGUAGES: Readonly<Record<Language, string>> = { en: "English", zh: "简体中文" };

const CATALOGUES: Readonly<Record<Language, Readonly<Record<Key, string>>>> = { en, zh };
const LOCALES: Readonly<Record<Language, string>> = { en: "en-GB", zh: "zh-CN" };
const STORED = "rillflow.language";

let language: Language = "en";
const listeners = new Set<() => void>();

/** Take the language that was chosen, else the one that the browser prefers. */
export function startLanguage(): void {
  const stored = stores()?.getItem(STORED);
  const preferred = prefersChinese(navigator.languages);
  language = stored === "en" || stored === "zh" ? stored : preferred ? "zh" : "en";
  document.documentElement.lang = LOCALES[language];
}

export function setLanguage(chosen: Language): void {
  language = chosen;
  stores()?.setItem(STORED, chosen);
  document.documentElement.lang = LOCALES[chosen];
  for (const listener of listeners) listener();
}

function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

export function useLanguage(): Language {
  return useSyncExternalStore(subscribe, () => language);
}

export function locale(): string {
  return LOCALES[language];
}

/** Say something; `{name}` in the text is replaced by the value of that name. */
export function t(key: Key, values: Readonly<Record<string, string | number>> = {}): string {
  return filled(CATALOGUES[language][key] ?? key, values);
}

export function filled(text: string, values: Readonly<Record<string, string | number>>): string {
  return text.replace(/\{(\w+)\}/g, (whole, name: string) => String(values[name] ?? whole));
}

/** A number with the separators of the reader's language. */
export function number(value: number): string {
  return value.toLocaleString(LOCALES[language]);
}

/** A number in few characters, where the exact one stands elsewhere: `12.5K`. */
export function compact(value: number): string {
  return value.toLocaleString(LOCALES[language], {
    notation: "compact",
    maximumFractionDigits: 1,
  });
}

function stores(): Storage | null {
  try {
    return localStorage;
  } catch {
    return null; // a browser that keeps nothing
  }
}

/** Tell whether Chinese comes before English in the languages of a browser. */
export function prefersChinese(languages: readonly string[]): boolean {
  const first = languages.map((each) => each.toLowerCase()).find((each) => /^(zh|en)/.test(each));
  return first?.startsWith("zh") === true;
}
