/** No more bytes are read than were asked for, whatever the server or anybody else says of them. */

import { expect, test } from "vitest";
import { bytesOf, TooLargeError } from "./bytes";
import { ApiError } from "./client";

/** An answer whose body has no end, and how much of it was read. */
function endless(headers: Record<string, string>, status = 200) {
  const read = { pieces: 0, isCancelled: false };
  const body = new ReadableStream<Uint8Array>({
    pull: (controller) => {
      read.pieces += 1;
      controller.enqueue(new Uint8Array(1000));
    },
    cancel: () => {
      read.isCancelled = true;
    },
  });
  return { response: new Response(body, { status, headers }), read };
}

function part(text: string, range: string): Response {
  return new Response(text, { status: 206, headers: { "Content-Range": range } });
}

function textOf(bytes: ArrayBuffer): string {
  return new TextDecoder().decode(bytes);
}

test("what fits is whole", async () => {
  const answer = part("hello", "bytes 0-4/5");
  const { bytes, isWhole } = await bytesOf(answer, { most: 100, takesPart: false });
  expect([textOf(bytes), isWhole]).toEqual(["hello", true]);
});

test("of what is longer the first part is taken", async () => {
  const answer = part("hello", "bytes 0-4/5000000000");
  const { bytes, isWhole } = await bytesOf(answer, { most: 5, takesPart: true });
  expect([textOf(bytes), isWhole]).toEqual(["hello", false]);
});

test.each([{ "Content-Length": "5000000000" }, { "Content-Range": "bytes 0-99/5000000000" }])(
  "where a part is of no use, nothing is read of what %j tells to be longer",
  async (headers) => {
    const { response, read } = endless(headers);
    const found = bytesOf(response, { most: 100, takesPart: false });
    await expect(found).rejects.toMatchObject({ name: "TooLargeError", total: 5_000_000_000 });
    expect(read.isCancelled).toBe(true);
    expect(read.pieces).toBeLessThanOrEqual(2);
  },
);

test.each([{}, { "Content-Length": "1" }, { "Content-Range": "bytes 0-0/1" }])(
  "a body is not read to its end because %j says that it is short",
  async (headers) => {
    const first = endless(headers);
    const { bytes, isWhole } = await bytesOf(first.response, { most: 2500, takesPart: true });
    expect([bytes.byteLength, isWhole]).toEqual([2500, false]);
    expect(first.read.isCancelled).toBe(true);
    const again = endless(headers);
    const refused = bytesOf(again.response, { most: 2500, takesPart: false });
    await expect(refused).rejects.toBeInstanceOf(TooLargeError);
    expect(again.read.isCancelled).toBe(true);
  },
);

test("an artifact without a byte is empty and no error", async () => {
  const answer = new Response("", { status: 416, headers: { "Content-Range": "bytes */0" } });
  const { bytes, isWhole } = await bytesOf(answer, { most: 100, takesPart: false });
  expect([bytes.byteLength, isWhole]).toEqual([0, true]);
});

test("a refusal is told in the server's words", async () => {
  const answer = new Response('{"error": "no such artifact", "error_code": 30405}', {
    status: 404,
  });
  const found = bytesOf(answer, { most: 100, takesPart: true });
  await expect(found).rejects.toMatchObject(new ApiError(404, 30405, "no such artifact", null));
});
