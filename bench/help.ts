import { ADAPTERS, ALL_CANDIDATES } from './candidates.js';
import { PARTS } from './options.js';
import { WORKLOADS } from './workloads.js';

const WIDTH = 76;

/** What `--help` prints. */
export const HELP = `npm run bench [-- <options>]

Without an option: one table of what most readers ask for, in about 13 minutes. More than half
of that is for servers that start and warm up.

  --long              every part, candidate and workload, a table each; about 90 minutes
  --parts <list>      these parts of the long form alone
  --counts            that a request of the library counts what counts/expected-counts.ts says
  --check             that everything runs; no figure of it means anything
  --profile <workload>    what a server's time goes into, of the first of --candidates and --adapters
  --profile-file <file>   saves that profile, for the developer tools of a browser

  --candidates <list>, --workloads <list>, --adapters <list>    these alone
  --rounds <number>   how often each candidate is measured
  --batches <number>  parts "throughput" and "observed", and --apart: how many processes of each
                      candidate share the rounds, one after another
  --seconds <number>  how long, each time
  --json <file>       saves all figures
  --apart             part "machinery": processes for each candidate, else one for all
  --inject            part "machinery": by Fastify's inject()

A list is words with commas between them.

${list('parts', PARTS)}
${list('adapters', ADAPTERS)}
${list(
  'workloads',
  WORKLOADS.map(({ name }) => name),
)}
${list('candidates', ALL_CANDIDATES)}

What fails is a row that says so. The exit code is then 1.`;

function list(name: string, words: readonly string[]): string {
  const lines: string[] = [`${name}:`];
  for (const word of words) {
    const line = `${lines.at(-1)!} ${word}`;
    if (line.length > WIDTH) {
      lines.push(`  ${word}`);
    } else {
      lines[lines.length - 1] = line;
    }
  }
  return lines.join('\n');
}
