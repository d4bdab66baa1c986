/** A line that says where an error is explained; the page comes with the package, in the same version. */
const PAGE_LINE = /\nSee nestjs-db-context\/docs\/errors\.md#[a-z_]+/g;

/**
 * A message whose last line names the page of its error.
 *
 * @param message what happened; the lines of other errors that it quotes are left out
 */
export function withPage(message: string, code: string): string {
  return `${withoutPage(message)}\nSee nestjs-db-context/docs/errors.md#${code.toLowerCase()}`;
}

/** What an error says, without the line that names its page: for clients, and for texts that go on after it. */
export function withoutPage(message: string): string {
  return message.replaceAll(PAGE_LINE, '');
}
