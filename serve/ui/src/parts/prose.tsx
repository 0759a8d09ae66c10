/** A sentence of the server, in which names stand between backticks. */

import type { JSX } from "react";

export function Prose({ text }: { text: string }): JSX.Element {
  return (
    <>
      {text.split("`").map((part, index) =>
        index % 2 === 1 ? (
          // biome-ignore lint/suspicious/noArrayIndexKey: parts are told apart by their place
          <code key={index} dir="auto">
            {part}
          </code>
        ) : (
          part
        ),
      )}
    </>
  );
}
