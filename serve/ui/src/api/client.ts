/** Requests to the server that has served the page. */

import { sessionHeader } from "./token";

const CONSOLE = "flow/console/v1/";

/** A refusal of the server, in its own words. */
export class ApiError extends Error {
  constructor(
    readonly status: number,
    readonly code: number | null,
    message: string,
    readonly hint: string | null,
  ) {
    super(message);
    this.name = "ApiError";
  }
}

export type Params = Readonly<Record<string, string | number | boolean | null | undefined>>;

/** Write an address relative to the page, which works below the path of any proxy. */
export function addressOf(path: string, params: Params = {}): string {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(params)) {
    if (value !== null && value !== undefined && value !== "") query.set(name, String(value));
  }
  const text = query.toString();
  return text === "" ? path : `${path}?${text}`;
}

export function streamAddress(path: string, params: Params): string {
  return addressOf(CONSOLE + path, params);
}

/** Ask the console's own routes. */
export async function ask<T>(path: string, params: Params, signal?: AbortSignal): Promise<T> {
  return send<T>("GET", addressOf(CONSOLE + path, params), undefined, signal);
}

/** Call a route that changes something: `post("flow/cancel.json", {execution_id})`. */
export async function post<T = unknown>(path: string, params: Params, body?: unknown): Promise<T> {
  return send<T>("POST", addressOf(path, params), body);
}

export async function send<T>(
  method: string,
  address: string,
  body?: unknown,
  signal?: AbortSignal,
): Promise<T> {
  return parsed(await sendForText(method, address, body, signal)) as T;
}

/** Like `send`; the answer is returned as it is. */
export async function sendForText(
  method: string,
  address: string,
  body?: unknown,
  signal?: AbortSignal,
): Promise<string> {
  const headers: Record<string, string> = { Accept: "application/json", ...sessionHeader() };
  const init: RequestInit = { method, headers };
  if (signal !== undefined) init.signal = signal;
  if (typeof body === "string") init.body = body;
  else if (body !== undefined) {
    init.body = JSON.stringify(body);
    headers["Content-Type"] = "application/json";
  }
  let response: Response;
  try {
    response = await fetch(address, init);
  } catch (error) {
    if (signal?.aborted === true) throw error;
    throw new ApiError(0, null, "", null);
  }
  const text = await response.text();
  if (!response.ok) throw refusal(response.status, text);
  return text;
}

export function refusal(status: number, text: string): ApiError {
  const body = parsed(text);
  if (typeof body === "object" && body !== null && "error" in body) {
    const { error, error_code: code, hint } = body as Record<string, unknown>;
    return new ApiError(
      status,
      typeof code === "number" ? code : null,
      String(error),
      typeof hint === "string" ? hint : null,
    );
  }
  return new ApiError(status, null, text.slice(0, 300), null);
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
