/** An LSN as hexadecimal digits, and when it was written, in seconds since 1970. */
const LSN_TEXT = /^([0-9a-f]{1,16})\.(\d{1,11})$/;

/** The text of an LSN that a client gets, and sends back. */
export function lsnText(lsn: bigint, nowMs: number): string {
  return `${lsn.toString(16)}.${Math.floor(nowMs / 1_000)}`;
}

/**
 * Reads the LSN that a client has sent. A client can send anything: a text that is no LSN, or one that
 * is too old or too far in the future, is ignored.
 *
 * @param maxAgeSeconds how long an LSN counts, in seconds
 */
export function parseLsnText(
  text: unknown,
  maxAgeSeconds: number,
  nowMs: number,
): bigint | undefined {
  const [, digits, seconds] = (typeof text === 'string' && LSN_TEXT.exec(text)) || [];
  if (digits === undefined) {
    return undefined;
  }
  const ageSeconds = nowMs / 1_000 - Number(seconds);
  return Math.abs(ageSeconds) <= maxAgeSeconds ? BigInt(`0x${digits}`) : undefined;
}
