/** Server-sent events by `fetch`: `EventSource` cannot send the header of the session. */

import { ApiError, refusal } from "./client";
import { sessionHeader } from "./token";

/** The server says something each 15 s; after so long without, the connection is gone. */
const SILENCE_MS = 45_000;

export interface StreamEvent {
  /** The position from which a stream that breaks off goes on; null where it has none. */
  id: string | null;
  kind: string;
  data: string;
}

/** Puts events together from the parts in which they arrive. */
export class EventReader {
  #rest = "";
  #id: string | null = null;
  #kind = "";
  #data: string[] = [];

  /** Return the events that end in this part. */
  read(part: string): StreamEvent[] {
    const lines = (this.#rest + part).split("\n");
    this.#rest = lines.pop() ?? "";
    const events: StreamEvent[] = [];
    for (const line of lines) {
      const event = this.#readLine(line.endsWith("\r") ? line.slice(0, -1) : line);
      if (event !== null) events.push(event);
    }
    return events;
  }

  #readLine(line: string): StreamEvent | null {
    if (line === "") return this.#end();
    const [, name = "", value = ""] = /^([^:]*)(?:: ?(.*))?$/s.exec(line) ?? [];
    if (name === "event") this.#kind = value;
    else if (name === "data") this.#data.push(value);
    else if (name === "id") this.#id = value;
    return null;
  }

  #end(): StreamEvent | null {
    const kind = this.#kind || "message";
    const data = this.#data;
    this.#kind = "";
    this.#data = [];
    return data.length === 0 ? null : { id: this.#id, kind, data: data.join("\n") };
  }
}

/** Read a stream to its end.

Throws `ApiError` where the server refuses it or cannot be reached, and whatever `fetch`
throws where the connection breaks.
*/
export async function listen(
  address: string,
  stop: AbortSignal,
  onOpen: () => void,
  onEvent: (event: StreamEvent) => void,
): Promise<void> {
  const silence = new AbortController();
  let timer = window.setTimeout(() => silence.abort(), SILENCE_MS);
  try {
    const response = await fetch(address, {
      headers: { Accept: "text/event-stream", ...sessionHeader() },
      cache: "no-store",
      signal: AbortSignal.any([stop, silence.signal]),
    });
    if (!response.ok) throw refusal(response.status, await response.text());
    if (response.body === null) throw new ApiError(0, null, "", null);
    onOpen();
    const parts = response.body.pipeThrough(new TextDecoderStream()).getReader();
    const events = new EventReader();
    for (;;) {
      const { done, value } = await parts.read();
      window.clearTimeout(timer);
      if (done) return;
      timer = window.setTimeout(() => silence.abort(), SILENCE_MS);
      for (const event of events.read(value)) onEvent(event);
    }
  } finally {
    window.clearTimeout(timer);
  }
}
