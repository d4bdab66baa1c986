/**
 * The whole message of an error of the library: what it says, and the line that names its page. Written here
 * once more, so that a spec that compares messages exactly also notices another line.
 */
export function fullMessage(code: string, says: string): string {
  return `${says}\nSee nestjs-db-context/docs/errors.md#${code.toLowerCase()}`;
}
