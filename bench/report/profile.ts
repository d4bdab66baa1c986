import { writeFile } from 'node:fs/promises';
import type { Profiler } from 'node:inspector';

/** A function, and how much of the time was spent in it itself. */
export interface HotFunction {
  readonly name: string;
  /** The package, or `node`, or for code that is no JavaScript `(program)` and the like. */
  readonly where: string;
  readonly share: number;
}

const IDLE = '(idle)';
/** Of the recorder itself. */
const INSPECTOR = 'node:inspector';

/** The functions of a profile by their own time, the most expensive first; idling left out. */
export function hotFunctions(profile: Profiler.Profile): readonly HotFunction[] {
  const { nodes, samples = [], timeDeltas = [] } = profile;
  const byId = new Map(nodes.map((node) => [node.id, node]));
  const times = new Map<string, { name: string; where: string; time: number }>();
  let total = 0;
  for (const [index, id] of samples.entries()) {
    const { functionName, url, lineNumber } = byId.get(id)!.callFrame;
    if (functionName !== IDLE && url !== INSPECTOR) {
      const name = functionName || `(anonymous, line ${lineNumber + 1})`;
      const where = `${packageOf(url)} ${url.split('/').at(-1) ?? ''}`.trim();
      const hot = times.get(`${name} ${where}`) ?? { name, where, time: 0 };
      hot.time += timeDeltas[index] ?? 0;
      times.set(`${name} ${where}`, hot);
      total += timeDeltas[index] ?? 0;
    }
  }
  return [...times.values()]
    .toSorted((a, b) => b.time - a.time)
    .map(({ name, where, time }) => ({ name, where, share: time / total }));
}

/** The time of the functions, summed by package. */
export function hotPackages(functions: readonly HotFunction[]): readonly HotFunction[] {
  const shares = new Map<string, number>();
  for (const { where, share } of functions) {
    const name = where.split(' ')[0] || 'V8 and native code';
    shares.set(name, (shares.get(name) ?? 0) + share);
  }
  return [...shares]
    .map(([name, share]) => ({ name, where: '', share }))
    .toSorted((a, b) => b.share - a.share);
}

/** Saves a profile in the format of a browser's developer tools. */
export async function saveProfile(file: string, profile: Profiler.Profile): Promise<void> {
  await writeFile(file, JSON.stringify(profile));
}

function packageOf(url: string): string {
  if (url.startsWith('node:')) {
    return 'node';
  }
  const [, name] = /.*\/node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(url) ?? [];
  if (name !== undefined) {
    return name;
  }
  if (url === '') {
    return '';
  }
  return url.includes('/bench/') ? 'bench' : 'nestjs-db-context';
}
