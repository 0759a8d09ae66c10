/** Success rates as people read them. */

/** A rate in percent; only all is told as 100 %, and only none as 0 %. */
export function percent(rate: number): string {
  if (rate >= 1) return "100 %";
  if (rate <= 0) return "0 %";
  const told = Math.min(99.9, Math.max(0.1, rate * 100));
  return `${told >= 99 || told < 1 ? (Math.floor(told * 10) / 10).toFixed(1) : Math.floor(told)} %`;
}
