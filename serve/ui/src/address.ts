/** The address of what is shown, kept after the `#`: a page, its parts, and parameters. */

import { useSyncExternalStore } from "react";

export interface Address {
  readonly parts: readonly string[];
  readonly params: Readonly<Record<string, string>>;
}

/** Read an address; anything can be read, and unknown pages are told by the shell. */
export function parseAddress(hash: string): Address {
  const [path = "", query = ""] = split(hash.replace(/^#\/?/, ""), "?");
  const parts = path
    .split("/")
    .filter((part) => part !== "")
    .map(decoded);
  return { parts, params: Object.fromEntries(new URLSearchParams(query)) };
}

/** Write an address; parameters without a value are left out. */
export function formatAddress(
  parts: readonly string[],
  params: Readonly<Record<string, string | null | undefined>> = {},
): string {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(params)) {
    if (value !== null && value !== undefined && value !== "") query.set(name, value);
  }
  const text = query.toString();
  return `#/${parts.map(encodeURIComponent).join("/")}${text === "" ? "" : `?${text}`}`;
}

/** Read the API key that an address offers, `#key=...`; null where it offers none. */
export function keyOf(hash: string): string | null {
  const key = /^#key=(.+)$/.exec(hash)?.[1];
  return key === undefined ? null : decoded(key);
}

const listeners = new Set<() => void>();
let text = typeof location === "undefined" ? "" : location.hash;
let current = parseAddress(text);

function changed(): void {
  text = location.hash;
  current = parseAddress(text);
  for (const listener of listeners) listener();
}

function subscribe(listener: () => void): () => void {
  if (listeners.size === 0) {
    window.addEventListener("hashchange", changed);
    // The address may have changed while no page was shown that has one: on the way in.
    if (text !== location.hash) changed();
  }
  listeners.add(listener);
  return () => {
    listeners.delete(listener);
    if (listeners.size === 0) window.removeEventListener("hashchange", changed);
  };
}

export function useAddress(): Address {
  return useSyncExternalStore(subscribe, () => current);
}

/** Go to an address; a replaced one leaves no step in the history of the browser. */
export function go(hash: string, { replace = false } = {}): void {
  if (hash === location.hash) return;
  if (replace) history.replaceState(null, "", hash);
  else history.pushState(null, "", hash);
  changed();
}

/** Change parameters of the present address and keep the others. */
export function goParams(
  params: Readonly<Record<string, string | null | undefined>>,
  { replace = false } = {},
): void {
  go(formatAddress(current.parts, { ...current.params, ...params }), { replace });
}

function split(text: string, at: string): [string, string] {
  const place = text.indexOf(at);
  return place < 0 ? [text, ""] : [text.slice(0, place), text.slice(place + 1)];
}

function decoded(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}
