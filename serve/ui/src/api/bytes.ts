/** Bytes of the server, never more than was asked for, whatever anybody says of their number. */

import { ApiError, refusal } from "./client";
import { sessionHeader } from "./token";

/** There are more bytes than may be fetched; how many is null where the server does not tell. */
export class TooLargeError extends Error {
  constructor(readonly total: number | null) {
    super("there are more bytes than may be fetched");
    this.name = "TooLargeError";
  }
}

export interface Fetched {
  readonly bytes: ArrayBuffer;
  readonly isWhole: boolean;
}

/** How many bytes are wanted, and whether the first ones are enough where there are more. */
export interface Wanted {
  readonly most: number;
  readonly takesPart: boolean;
}

/** Fetch bytes, which the caller shows as what it knows them to be; see `bytesOf`. */
export async function sendForBytes(
  address: string,
  wanted: Wanted,
  signal: AbortSignal,
): Promise<Fetched> {
  const headers = { ...sessionHeader(), Range: `bytes=0-${wanted.most - 1}` };
  let response: Response;
  try {
    response = await fetch(address, { headers, signal });
  } catch (error) {
    if (signal.aborted) throw error;
    throw new ApiError(0, null, "", null);
  }
  return bytesOf(response, wanted);
}

/** Read an answer: at most so many bytes, or a `TooLargeError` where a part is of no use. */
export async function bytesOf(response: Response, wanted: Wanted): Promise<Fetched> {
  if (response.status === 416) return { bytes: new ArrayBuffer(0), isWhole: true };
  if (!response.ok) throw refusal(response.status, await response.text());
  const total = totalOf(response);
  if (total !== null && total > wanted.most && !wanted.takesPart) {
    await response.body?.cancel();
    throw new TooLargeError(total);
  }
  const { bytes, hasMore } = await readUpTo(response, wanted.most);
  const isWhole = !hasMore && (total === null || total <= wanted.most);
  if (!isWhole && !wanted.takesPart) throw new TooLargeError(total);
  return { bytes, isWhole };
}

/** How many bytes there are, as the server says; null where it does not. */
function totalOf(response: Response): number | null {
  const range = response.headers.get("Content-Range");
  const told = range === null ? response.headers.get("Content-Length") : range.replace(/^.*\//, "");
  return told !== null && /^\d{1,15}$/.test(told) ? Number(told) : null;
}

/** Read a body, and no more of it than is wanted: what the server says of it may be wrong. */
async function readUpTo(response: Response, most: number) {
  const reader = response.body?.getReader();
  const parts: Uint8Array<ArrayBuffer>[] = [];
  let length = 0;
  while (reader !== undefined) {
    const { done, value } = await reader.read();
    if (done) break;
    const part = value.subarray(0, most - length) as Uint8Array<ArrayBuffer>;
    parts.push(part);
    length += part.byteLength;
    if (part.byteLength < value.byteLength) {
      await reader.cancel();
      return { bytes: await joined(parts), hasMore: true };
    }
  }
  return { bytes: await joined(parts), hasMore: false };
}

function joined(parts: Uint8Array<ArrayBuffer>[]): Promise<ArrayBuffer> {
  return new Blob(parts).arrayBuffer();
}
