import { execFile } from 'node:child_process';

/** A program ended with an exit code other than 0; the message holds all that it printed. */
export class CommandFailed extends Error {
  name = 'CommandFailed';
}

/**
 * Runs a program to its end.
 *
 * @param {string} program
 * @param {readonly string[]} args
 * @param {string} [cwd]
 * @param {NodeJS.ProcessEnv} [env]
 * @returns {Promise<string>} its standard output
 * @throws {CommandFailed} when it cannot be started or its exit code is not 0
 */
export function run(program, args, cwd, env = process.env) {
  return new Promise((resolve, reject) => {
    execFile(program, args, { cwd, env, maxBuffer: 64 * 1024 * 1024 }, (error, stdout, stderr) => {
      if (error === null) resolve(stdout);
      else reject(new CommandFailed(`${error.message}\n${stdout}${stderr}`, { cause: error }));
    });
  });
}
