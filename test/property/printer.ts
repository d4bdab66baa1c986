import type { Op, Outcome, Program, Trace } from './program.js';

/** A program as text that reads like code; `#7` is the number that rows and traces carry. */
export function printed(program: Program): string {
  return ['await dbContext.run(async () => {', ...lines(program), '});'].join('\n');
}

/** What a program came to, as text that a diff shows well. */
export function printedOutcome({ result, trace, rows, beforeCommits }: Outcome): string {
  const databases = Object.entries(rows).map(([name, all]) => {
    const texts = all.map(({ text, transaction }) => `${text}@${transaction}`);
    return `rows of ${name}: ${texts.join(' ')}`;
  });
  return [
    `result: ${result}`,
    ...databases,
    `calls of beforeCommit: ${JSON.stringify(beforeCommits)}`,
    'trace:',
    ...traceLines(trace),
  ].join('\n');
}

function traceLines(trace: Trace, indent = '  '): string[] {
  return trace.flatMap((each) =>
    typeof each === 'string'
      ? [`${indent}${each}`]
      : each.flatMap((branch, index) => [
          `${indent}branch ${index}:`,
          ...traceLines(branch, `${indent}  `),
        ]),
  );
}

function lines(program: Program): string[] {
  return indented(program.flatMap(opLines));
}

function indented(of: readonly string[]): string[] {
  return of.map((line) => `  ${line}`);
}

function block(head: string, body: Program, tail: string): string[] {
  return [`${head} => {`, ...lines(body), `}${tail}`];
}

function opLines(op: Op): string[] {
  const at = `// #${op.id}`;
  switch (op.kind) {
    case 'statement':
      return [`await ${op.statement}('${op.db}'); ${at}`];
    case 'stray':
      return [`void insert('${op.db}'); ${at} is not awaited`];
    case 'late':
      return [`afterThisBlock(() => insert('${op.db}')); ${at}`];
    case 'abandon':
      return [`void ${op.branches} parallel savepoints of '${op.db}'; throw new Boom(); ${at}`];
    case 'throw':
      return [`throw new Boom(); ${at}`];
    case 'pool':
      return [`lookAtPools(); ${at}`];
    case 'end':
      return [`await ${endCall(op)}; ${at}`];
    case 'attempt':
      return block('await attempt(async ()', op.body, `); ${at}`);
    case 'savepoint':
      return block(
        `await session('${op.db}').transactional(async (${op.own ? 'own' : ''})`,
        op.body,
        `, { propagation: '${op.propagation}' }); ${at}`,
      );
    case 'atomic':
      return block(
        `await dbContext.atomic(async (${op.own ? 'own' : ''})`,
        op.body,
        `, { connection: '${op.db}', current: '${op.mode}' }); ${at}`,
      );
    case 'newContext':
      return block('await dbContext.runInNewContext(async ()', op.body, `); ${at}`);
    case 'join':
      return block('await dbContext.run(async ()', op.body, `); ${at}`);
    case 'newSession':
      return block(
        `await dbContext.${op.commits ? 'newAtomicSession' : 'newSession'}(async (own)`,
        op.body,
        `, { connection: '${op.db}' }); ${at}`,
      );
    case 'hook':
      return block(
        `dbContext.${op.hook}(async ()`,
        op.body,
        `${op.bound === undefined ? '' : `, { connection: '${op.bound}' }`}); ${at}`,
      );
    // `parallel`, the only one left.
    default:
      return [
        'await all([',
        ...op.branches.flatMap((branch) => indented(block('async ()', branch, ','))),
        `]); ${at}`,
      ];
  }
}

function endCall({ verb, target, bySession }: Extract<Op, { kind: 'end' }>): string {
  if (target === 'all') {
    return `dbContext.${verb}All()`;
  }
  return bySession && verb !== 'close'
    ? `session('${target}').${verb}()`
    : `dbContext.${verb}('${target}')`;
}
