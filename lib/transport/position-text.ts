/** A position as hexadecimal digits, and when it was written, in seconds since 1970. */
const POSITION = /^([0-9a-f]{1,16})\.(\d{1,11})$/;

/** What a client is given, and gives back. */
export function positionText(position: bigint, nowMs: number): string {
  return `${position.toString(16)}.${Math.floor(nowMs / 1_000)}`;
}

/**
 * Reads what a client has sent. Anything may come: what is no position, too old, or of a future that
 * no clock that is wrong explains, is none.
 *
 * @param maxAgeSeconds how long a position counts
 */
export function parsePosition(
  text: unknown,
  maxAgeSeconds: number,
  nowMs: number,
): bigint | undefined {
  const [, digits, seconds] = (typeof text === 'string' && POSITION.exec(text)) || [];
  if (digits === undefined) {
    return undefined;
  }
  const ageSeconds = nowMs / 1_000 - Number(seconds);
  return Math.abs(ageSeconds) <= maxAgeSeconds ? BigInt(`0x${digits}`) : undefined;
}
