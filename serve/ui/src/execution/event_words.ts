/** A kind of event as a person reads it: `dispatch_answered` is `dispatch answered`. */
export function kindWord(kind: string): string {
  return kind.replaceAll("_", " ");
}
