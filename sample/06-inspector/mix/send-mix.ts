import { send, type Step } from '../../starter/walkthrough.js';

const ADA = { 'x-account-key': 'ada-key' };
/** More than the pool has connections. */
const CROWD = 16;

const transfer = (amountCents: number): Omit<Step, 'status' | 'expect'> => ({
  method: 'POST',
  path: '/transfers',
  headers: ADA,
  body: { to: 2, amountCents },
});

/** Good and bad requests; `expect` says what there is to see of each. */
const MIX: readonly Step[] = [
  { path: '/accounts', status: 200, expect: 'one read' },
  ...Array.from({ length: 8 }, (_, index) => ({
    ...transfer(index + 1),
    status: 201,
    expect: 'two databases, one under the other',
  })),
  { ...transfer(99_999_99), status: 422, expect: 'rolled back, and why' },
  {
    method: 'POST',
    path: '/sessions',
    body: { accountId: 1, pin: '0000' },
    status: 401,
    expect: 'a 401 that is committed, by @CommitOn()',
  },
  {
    path: '/accounts/1/statement',
    headers: { 'x-account-key': 'of nobody' },
    status: 401,
    expect: 'a guard that has asked the database',
  },
  { path: '/habits/n-plus-one', status: 200, expect: 'the same statement again and again' },
  { method: 'POST', path: '/habits/part', status: 200, expect: 'savepoints, one undone' },
  { method: 'POST', path: '/habits/break', status: 500, expect: 'what the database has refused' },
  { method: 'POST', path: '/habits/flush-twice', status: 200, expect: 'two flushes at once' },
  { method: 'POST', path: '/habits/forget', status: 200, expect: 'work that nobody awaited' },
  { method: 'POST', path: '/habits/hold', status: 200, expect: 'a connection held while idle' },
];

/** Sends all of them, and then a crowd that has to wait for connections. */
export async function sendMix(
  url: string,
  { crowd = CROWD }: { readonly crowd?: number } = {},
): Promise<void> {
  for (const step of MIX) {
    await answered(url, step);
  }
  await Promise.all(
    Array.from({ length: crowd }, () =>
      answered(url, { path: '/habits/slow', status: 200, expect: 'a wait for a connection' }),
    ),
  );
}

async function answered(url: string, step: Step): Promise<void> {
  const answer = await send(url, step);
  await answer.text();
  if (answer.status !== step.status) {
    throw new Error(`${step.path} was answered with ${answer.status}, not with ${step.status}`);
  }
}
