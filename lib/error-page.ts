import { DriverException } from '@mikro-orm/core';

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

/** Takes that line out of the message of an error that is about to reach a client; its stack, for logs, keeps it. */
export function hidePage(error: unknown): unknown {
  if (error instanceof DriverException && error.message !== withoutPage(error.message)) {
    // A stack has the message of the time when it is first looked at.
    Object.assign(error, { stack: error.stack, message: withoutPage(error.message) });
  }
  return error;
}
