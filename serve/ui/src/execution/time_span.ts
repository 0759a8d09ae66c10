/** The part of a timeline that is shown: zoomed and moved, and never beyond the whole. */

export interface Span {
  readonly from: number;
  readonly end: number;
}

/** A shorter one shows nothing that a longer one does not. */
const LEAST_MS = 1;

/** Make a span longer or shorter around its middle; null is the whole. */
export function zoomed(span: Span, whole: Span, factor: number): Span | null {
  const length = Math.max(LEAST_MS, (span.end - span.from) * factor);
  const middle = (span.from + span.end) / 2;
  return within({ from: middle - length / 2, end: middle + length / 2 }, whole);
}

/** Move a span by a part of its length. */
export function moved(span: Span, whole: Span, part: number): Span | null {
  const by = (span.end - span.from) * part;
  return within({ from: span.from + by, end: span.end + by }, whole);
}

/** The span between two places of another one, each a part of its length. */
export function between(span: Span, first: number, second: number, whole: Span): Span | null {
  const at = (part: number) => span.from + part * (span.end - span.from);
  const [from, end] = [at(Math.min(first, second)), at(Math.max(first, second))];
  return within({ from, end: Math.max(end, from + LEAST_MS) }, whole);
}

function within({ from, end }: Span, whole: Span): Span | null {
  const length = end - from;
  if (length >= whole.end - whole.from) return null;
  const first = Math.min(Math.max(from, whole.from), whole.end - length);
  return { from: first, end: first + length };
}

/** Where a segment lies in a span, in per cent; null where it is outside. */
export function placed(segment: Span, span: Span): { left: number; width: number } | null {
  if (segment.end < span.from || segment.from > span.end) return null;
  const length = span.end - span.from;
  const from = Math.max(segment.from, span.from);
  const end = Math.min(segment.end, span.end);
  return { left: ((from - span.from) / length) * 100, width: ((end - from) / length) * 100 };
}
