/** Numbers as the page prints them: always alike, whatever the locale. */

/** SQNR of a layer without any error. */
export const EXACT_DB = 200;

export function megabytes(mb: number): string {
  return `${mb.toFixed(mb < 0.1 ? 3 : mb < 100 ? 2 : 0)} MB`;
}

export function decibels(db: number): string {
  return db >= EXACT_DB ? 'exact' : db.toFixed(1);
}

/** Five decimals; what is under 1 never reads as 1. */
export function similarity(value: number): string {
  const text = value.toFixed(5);
  return text === '1.00000' && value < 1 ? '>0.99999' : text;
}

/** Thousands apart. */
export function count(value: number): string {
  return String(value).replace(/\B(?=(\d{3})+$)/g, ',');
}

/** As `1,234` up to a million, then `12.3 M`. */
export function weights(value: number): string {
  if (value < 1e6) return count(value);
  return value < 1e9 ? `${(value / 1e6).toFixed(1)} M` : `${(value / 1e9).toFixed(2)} G`;
}

export function plural(value: number, one: string, many = `${one}s`): string {
  return `${count(value)} ${value === 1 ? one : many}`;
}

/** Six significant digits, which is more than anything on the page shows. */
export function rounded(value: number): number {
  return Number(value.toPrecision(6));
}

/** The value below which a part of the sorted values lies. */
export function quantile(sorted: readonly number[], part: number): number {
  const at = (sorted.length - 1) * part;
  const [low, high] = [sorted[Math.floor(at)] ?? Number.NaN, sorted[Math.ceil(at)] ?? Number.NaN];
  return low + (high - low) * (at - Math.floor(at));
}
