/**
 * Everything that CI proves: `npm run verify`. The steps that run no tests go side by side in two lanes,
 * one for each core of a small machine; what a step prints appears when it has ended, with the time
 * that it took. The tests follow alone, as some of them measure time. Ends with exit code 1 when a
 * step has failed, and then runs no tests.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { text } from 'node:stream/consumers';

/** Scripts of package.json. One lane needs `dist`, which its first step builds once for all others. */
const LANES = [
  ['build', 'compile:samples', 'compile:bench', 'check:bench', 'check:package'],
  ['typecheck', 'lint', 'knip', 'docs:build'],
];

/** @returns {Promise<boolean>} whether the script ended well */
async function runQuietly(script) {
  const startedAt = performance.now();
  const child = spawn('npm', ['run', '--silent', script], { stdio: ['ignore', 'pipe', 'pipe'] });
  const ended = once(child, 'close');
  const [output, errors] = await Promise.all([text(child.stdout), text(child.stderr)]);
  const [code] = await ended;
  const seconds = ((performance.now() - startedAt) / 1_000).toFixed(1);
  console.log(`${code === 0 ? 'ok  ' : 'FAIL'} ${script} (${seconds} s)\n${output}${errors}`);
  return code === 0;
}

/** Runs scripts one after another, up to the first that fails. */
async function runLane(scripts) {
  for (const script of scripts) {
    if (!(await runQuietly(script))) {
      return false;
    }
  }
  return true;
}

/** @returns {Promise<number>} the exit code of the tests */
async function runTests() {
  const [code] = await once(spawn('npm', ['test'], { stdio: 'inherit' }), 'exit');
  return code ?? 1;
}

const results = await Promise.all(LANES.map(runLane));
process.exitCode = results.every((isOk) => isOk) ? await runTests() : 1;
