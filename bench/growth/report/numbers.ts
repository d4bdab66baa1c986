const SHORT = new Intl.NumberFormat('en-US', { maximumSignificantDigits: 3 });
const WHOLE = new Intl.NumberFormat('en-US', { maximumFractionDigits: 0 });
const THREE_DIGITS = 100;

/** A number for a reader: three digits, or all of those before the point. */
export function readable(value: number): string {
  return (Math.abs(value) >= THREE_DIGITS ? WHOLE : SHORT).format(value);
}

export function readableRatio(value: number): string {
  return value.toFixed(2);
}
