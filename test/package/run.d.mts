/** A program ended with an exit code other than 0; the message holds all that it printed. */
export class CommandFailed extends Error {}

/** Runs a program to its end, and returns its standard output; see `run.mjs`. */
export function run(
  program: string,
  args: readonly string[],
  cwd?: string,
  env?: NodeJS.ProcessEnv,
): Promise<string>;
